# The files of packages, without their maintainer scripts and without what no
# container reads.
# OUT: where · REPO: folder with the packages and nothing else
mkdir "$OUT/tree"
for package in "$REPO"/*.deb; do
	dpkg-deb --fsys-tarfile "$package" | tar --extract --directory "$OUT/tree" --keep-directory-symlink --numeric-owner \
		--wildcards --no-wildcards-match-slash \
		--exclude='./usr/share/man' --exclude='./usr/share/info' --exclude='./usr/share/locale' --exclude='./usr/share/lintian' \
		--exclude='./usr/share/doc/*/[!c]*' --exclude='./usr/share/doc/*/c[!o]*'
done
