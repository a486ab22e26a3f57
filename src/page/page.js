// The script of acted pages.
