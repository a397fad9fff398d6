"""Files of images: archives, downloads, decoding, and where data sets lie."""
