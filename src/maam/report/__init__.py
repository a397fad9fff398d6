"""Results for people: Markdown, model cards, plots. Imports core; computes nothing."""
