package images

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"pault.ag/go/debian/changelog"
)

// Entry is one upload of a source package.
type Entry struct {
	Version string   `json:"version"`
	Text    string   `json:"text"` // as in the changelog, without the outer blank lines
	CVEs    []string `json:"cves"`
}

// errNoChangelog is of packages that refer to another one's.
var errNoChangelog = errors.New("it has no Debian changelog")

// maxChangelog is far above the longest, the kernel's 10 MB.
const maxChangelog = 64 << 20

// readChangelog reads the entries of a .deb above a source version, the newest
// first.
func readChangelog(ctx context.Context, deb, name, above string) ([]Entry, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // what follows the changelog is not unpacked
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	entries, err := entriesInTar(out, name, above)
	cancel()
	_ = cmd.Wait() // it was ended in the middle
	return entries, err
}

// entriesInTar finds the changelog in a package's files. changelog.gz is the
// upstream author's where there is a changelog.Debian.gz, which comes before it
// in every package that debhelper made.
func entriesInTar(files io.Reader, name, above string) ([]Entry, error) {
	folder := "./usr/share/doc/" + name + "/"
	archive := tar.NewReader(files)
	for {
		header, err := archive.Next()
		switch {
		case err == io.EOF:
			return nil, errNoChangelog
		case err != nil:
			return nil, fmt.Errorf("read its files: %w", err)
		case header.Typeflag != tar.TypeReg || header.Name != folder+"changelog.Debian.gz" && header.Name != folder+"changelog.gz":
			continue
		}
		text, err := gzip.NewReader(archive)
		if err != nil {
			return nil, fmt.Errorf("read its changelog: %w", err)
		}
		return entriesAbove(io.LimitReader(text, maxChangelog), above)
	}
}

// entriesAbove reads a Debian changelog down to a version.
func entriesAbove(r io.Reader, above string) ([]Entry, error) {
	lines := bufio.NewReader(r)
	entries := []Entry{}
	for {
		e, err := changelog.ParseOne(lines)
		if errors.Is(err, io.EOF) {
			return entries, nil // it was trimmed, or the package is new
		}
		if err != nil {
			return entries, fmt.Errorf("read its changelog: %w", err)
		}
		if compareVersions(e.Version.String(), above) <= 0 {
			return entries, nil
		}
		text := printable(strings.Trim(e.Changelog, "\n"))
		entries = append(entries, Entry{Version: printable(e.Version.String()), Text: text, CVEs: cves(text)})
	}
}

// printable keeps a terminal from obeying what somebody else wrote.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ReplaceAll(s, "\t", "        "))
}

// cvePattern is the syntax of CVE ids since 2014.
var cvePattern = regexp.MustCompile(`\bCVE-[0-9]{4}-[0-9]{4,19}\b`)

// cves are the ids in a text, each once, in the order of their numbers.
func cves(text string) []string {
	ids := append([]string{}, cvePattern.FindAllString(text, -1)...)
	slices.SortFunc(ids, compareCVEs)
	return slices.Compact(ids)
}

// rebuilt marks a rebuild of an unchanged source (deb-version(7), binNMU).
var rebuilt = regexp.MustCompile(`\+b[0-9]+$`)

func compareCVEs(a, b string) int {
	if len(a) != len(b) && a[:9] == b[:9] { // "CVE-2026-"
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}
