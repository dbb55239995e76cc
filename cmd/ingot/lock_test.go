package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"ingot/images"
)

// news is what the lock of a server would change.
var news = images.Outdated{
	Packages: []images.Change{
		{Tree: images.TreeImage, Name: "libnew", Kind: images.Added, To: "1-1", Archive: images.ArchiveSecurity},
		{Tree: images.TreeImage, Name: "openssl", Kind: images.Up, From: "3.5.1-1", To: "3.5.3-1", Archive: images.ArchiveSecurity},
		{Tree: images.TreeImage, Name: "tzdata", Kind: images.Down, From: "2026b-1", To: "2026a-1", Archive: images.ArchiveUpdates},
		{Tree: images.TreeTools, Name: "old", Kind: images.Removed, From: "1"},
		{Tree: images.TreeTools, Name: "openssl", Kind: images.Replaced, From: "3", To: "3", Archive: images.ArchiveMain},
	},
	Sources: []images.SourceChange{
		{
			Source: "openssl", From: "3.5.1-1", To: "3.5.3-1", Archive: images.ArchiveSecurity, CVEs: []string{"CVE-1", "CVE-2", "CVE-3", "CVE-4", "CVE-5", "CVE-6", "CVE-7", "CVE-8", "CVE-9"},
			Entries: []images.Entry{
				{Version: "3.5.3-1", Text: "  * one\n\n  * two" + strings.Repeat("\n    more", 20)},
				{Version: "3.5.2-1", Text: "  * three"},
			},
		},
		{Source: "tzdata", From: "2026b-1", To: "2026a-1", Archive: images.ArchiveUpdates, Problem: "tzdata: it has no Debian changelog"},
	},
	Bytes: 5 << 20,
}

const newsTable = `image
  added  libnew   security  1-1
  up     openssl  security  3.5.1-1 → 3.5.3-1
  down   tzdata   updates   2026b-1 → 2026a-1
tools
  removed   old            1
  replaced  openssl  main  3, another file
`

func TestWriteDiff(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &console{stdout: &out}
	d := images.Diff{Packages: news.Packages, Other: []string{"account _chrony has number 97"}}
	if err := c.table(func(w io.Writer) { writeDiff(w, d) }); err != nil {
		t.Fatal(err)
	}
	if want := newsTable + "account _chrony has number 97\n"; out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestWriteOutdated(t *testing.T) {
	t.Parallel()
	const summary = "\n4 packages would change, of 2 sources, 1 of them with a security update; 5 MiB to download\n"
	entries := "\nopenssl 3.5.1-1 → 3.5.3-1 (security)\n  CVE-1 CVE-2 CVE-3 CVE-4 CVE-5 CVE-6 CVE-7 CVE-8 … and 1 more CVE ids with --verbose\n  3.5.3-1:\n    * one\n    * two\n" +
		strings.Repeat("      more\n", 9) + "  … and 13 more lines with --verbose\n" +
		"\ntzdata 2026b-1 → 2026a-1 (updates)\n  the changelog could not be read: tzdata: it has no Debian changelog\n"
	for _, tc := range []struct {
		name       string
		found      images.Outdated
		changelogs bool
		want       string
	}{
		{"nothing", images.Outdated{}, true, "no package would change\n"},
		{"without changelogs", news, false, newsTable + summary + "ingot outdated --changelogs my-server shows why, ingot lock my-server takes them over\n"},
		{"with changelogs", news, true, newsTable + entries + summary + "ingot lock my-server takes them over; build and test again\n"},
	} {
		var out bytes.Buffer
		c := &console{stdout: &out}
		if err := c.writeOutdated(tc.found, tc.changelogs, "my-server"); err != nil {
			t.Fatal(err)
		}
		if out.String() != tc.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tc.name, out.String(), tc.want)
		}
	}
	var out bytes.Buffer
	c := &console{stdout: &out, verbose: true}
	if err := c.writeOutdated(news, true, "my-server"); err != nil || !strings.Contains(out.String(), "\n    * three\n") || strings.Contains(out.String(), "--verbose") {
		t.Errorf("--verbose: %v\n%s", err, out.String())
	}
}

// Only --exit-code makes news an error, and only news.
func TestOutdatedExitCode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		found    images.Outdated
		exitCode bool
		want     int
	}{
		{"news", news, false, exitFine},
		{"news, asked for", news, true, exitChecks},
		{"nothing", images.Outdated{}, true, exitFine},
	} {
		for _, inJSON := range []bool{false, true} {
			var out, stderr bytes.Buffer
			c := &console{stdout: &out, stderr: &stderr, json: inJSON}
			err := c.tellOutdated(tc.found, outdatedFlags{exitCode: tc.exitCode}, "my-server")
			if got := exitCode(t.Context(), err); got != tc.want {
				t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
			}
			if err != nil {
				c.failure(err)
			}
			var document images.Outdated
			if inJSON && json.Unmarshal(out.Bytes(), &document) != nil { // one document, not two
				t.Errorf("%s: %s", tc.name, out.String())
			}
		}
	}
}
