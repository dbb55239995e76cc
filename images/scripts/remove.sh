# DIR: what to delete.
rm -rf --one-file-system -- "$DIR"
