package images

import (
	"slices"
	"strings"
	"testing"
	"unicode"
)

func TestEntriesAbove(t *testing.T) {
	t.Parallel()
	// As the kernel has it: the signed package's source, then that of the other.
	const signed = "linux-signed-amd64 (6.12.118+1) trixie-security; urgency=high\n\n  * Sign kernel\n\n -- A <a@example.org>  Fri, 02 Jan 2026 03:04:05 +0000\n\n" +
		"linux (6.12.117-1) trixie-security; urgency=high\n\n  * CVE-2026-1234\n\n -- A <a@example.org>  Fri, 02 Jan 2026 03:04:05 +0000\n\n" +
		"linux (6.12.9-1) trixie; urgency=high\n\n  * CVE-2026-1111\n\n -- A <a@example.org>  Fri, 02 Jan 2026 03:04:05 +0000\n"
	for _, tc := range []struct {
		name, text, above string
		want              []string // versions
		problem           bool
	}{
		{"down to the locked one", signed, "6.12.9+1", []string{"6.12.118+1", "6.12.117-1"}, false},
		{"the locked one is not in it", signed, "6.12.100-1", []string{"6.12.118+1", "6.12.117-1"}, false},
		{"it ends before", signed, "6.1-1", []string{"6.12.118+1", "6.12.117-1", "6.12.9-1"}, false},
		{"nothing new", signed, "6.12.118+1", nil, false},
		{"empty", "", "1", nil, false},
		{"the author's own", "Version 3\n=========\n* new\n", "1", nil, true},
		{"cut off", signed[:200], "6.1-1", []string{"6.12.118+1"}, false},
		{"no day", strings.Replace(signed, "Fri, 02", "Fry, 99", 1), "6.1-1", nil, true},
	} {
		got, err := entriesAbove(strings.NewReader(tc.text), tc.above)
		var versions []string
		for _, e := range got {
			versions = append(versions, e.Version)
		}
		if !slices.Equal(versions, tc.want) || (err != nil) != tc.problem {
			t.Errorf("%s: %q (%v), want %q", tc.name, versions, err, tc.want)
		}
	}
}

func TestCVEs(t *testing.T) {
	t.Parallel()
	got := cves("CVE-2026-10000,CVE-2026-9999 (CVE-2025-123456) cve-2026-1111 CVE-2026-999 XCVE-2026-1234 CVE-2026-9999 CVE-2026-1234.")
	if want := []string{"CVE-2025-123456", "CVE-2026-1234", "CVE-2026-9999", "CVE-2026-10000"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// FuzzChangelog wants nothing that a terminal would obey.
func FuzzChangelog(f *testing.F) {
	f.Add(opensslChangelog, "3.5.1-1")
	f.Add("a (1) b; c=d\n -- x  Fri, 02 Jan 2026 03:04:05 +0000\n", "0")
	f.Add("a (1:", "")
	f.Fuzz(func(t *testing.T, text, above string) {
		entries, _ := entriesAbove(strings.NewReader(text), above)
		for _, e := range entries {
			for _, r := range e.Version + e.Text {
				if r != '\n' && !unicode.IsPrint(r) {
					t.Errorf("%q in %+v", r, e)
				}
			}
		}
	})
}
