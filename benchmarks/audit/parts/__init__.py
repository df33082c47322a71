"""Parts of a library's file, where it offers more than a file holds."""
