package scan

import (
	"archive/zip"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/fault"
	"ingot/images/sbom"
)

func TestTargets(t *testing.T) {
	t.Parallel()
	targets, err := Targets(bill())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range targets {
		got = append(got, strings.Join([]string{x.Ecosystem, x.Name, x.Version, strings.Join(x.Components, ","), strings.Join(x.Parts, ",")}, " "))
	}
	want := []string{
		"Debian:13 bash 5.2.37-2 bash root", "Debian:13 linux 6.12.118-1 linux-image-6.12.118+deb13-cloud-amd64 boot,root",
		"Debian:13 openssh 1:10.0p1-7+deb13u1 openssh-client,openssh-server root", "Go example.org/mod 1.2.3 ignition initrd",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := Targets(sbom.Bill{Suite: "potato"}); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), `"potato"`) {
		t.Errorf("an old suite: %v", err)
	}
}

func TestAffected(t *testing.T) {
	t.Parallel()
	debian, goModule := Target{Ecosystem: "Debian:13", Name: "p"}, Target{Ecosystem: "Go", Name: "p"}
	for _, tc := range []struct {
		target               Target
		version, events, fix string
		want                 bool
	}{
		{debian, "1.0-1", `{"introduced": "0"}`, "", true},
		{debian, "1.0-1", `{"introduced": "0"}, {"fixed": "1.0-1"}`, "", false},
		{debian, "1.0-1", `{"introduced": "0"}, {"fixed": "1.0-1+deb13u1"}`, "1.0-1+deb13u1", true},
		{debian, "1.0-1", `{"introduced": "0"}, {"fixed": "1.0-1~deb13u1"}`, "", false}, // ~ is before the end
		{debian, "1.0~rc1-1", `{"introduced": "0"}, {"fixed": "1.0-1"}`, "1.0-1", true},
		{debian, "1:1.0-1", `{"introduced": "0"}, {"fixed": "2.0-1"}`, "", false}, // an epoch is above all without
		{debian, "1.10-1", `{"introduced": "0"}, {"fixed": "1.9-1"}`, "", false},  // numbers, not texts
		{debian, "20250419-1", `{"introduced": "20250420-1"}`, "", false},
		{debian, "1.0-1", `{"introduced": "0"}, {"last_affected": "1.0-1"}`, "", true},
		{debian, "1.0-2", `{"introduced": "0"}, {"last_affected": "1.0-1"}`, "", false},
		// Two ranges, in a wrong order.
		{debian, "3-1", `{"fixed": "4-1"}, {"introduced": "3-1"}, {"fixed": "2-1"}, {"introduced": "0"}`, "4-1", true},
		{debian, "2-5", `{"fixed": "4-1"}, {"introduced": "3-1"}, {"fixed": "2-1"}, {"introduced": "0"}`, "4-1", false},
		{goModule, "1.2.3", `{"introduced": "0"}, {"fixed": "1.2.4"}`, "1.2.4", true},
		{goModule, "1.10.0", `{"introduced": "0"}, {"fixed": "1.9.0"}`, "", false},
		{goModule, "0.0.0-20250101000000-abcdefabcdef", `{"introduced": "0"}, {"fixed": "0.0.0-20250601000000-000000000000"}`, "0.0.0-20250601000000-000000000000", true},
		{goModule, "1.26.3", `{"introduced": "1.26.0-0"}, {"fixed": "1.26.4"}`, "1.26.4", true},
		{goModule, "1.25.9", `{"introduced": "1.26.0-0"}, {"fixed": "1.26.4"}`, "1.26.4", false},
	} {
		kind := "ECOSYSTEM"
		if tc.target.Ecosystem == "Go" {
			kind = "SEMVER"
		}
		tc.target.Version = tc.version
		v := parsed(t, `{"id": "X-1", "affected": [{"package": {"ecosystem": "`+tc.target.Ecosystem+`", "name": "p"}, "ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}, {"type": "`+kind+`", "events": [`+tc.events+`]}]}]}`)
		if got, err := affected(tc.target, v); got != tc.want || err != nil {
			t.Errorf("%s in %s: %v (%v), want %v", tc.version, tc.events, got, err, tc.want)
		}
		if got, err := firstFix(tc.target, v); got != tc.fix || err != nil {
			t.Errorf("%s in %s is fixed in %q (%v), want %q", tc.version, tc.events, got, err, tc.fix)
		}
	}
	listed := parsed(t, `{"id": "X-1", "affected": [{"package": {"ecosystem": "Debian:13", "name": "p"}, "versions": ["1.0-1"]}, {"package": {"ecosystem": "Debian:12", "name": "p"}, "versions": ["2.0-1"]}]}`)
	for version, want := range map[string]bool{"1.0-1": true, "2.0-1": false} {
		debian.Version = version
		if got, err := affected(debian, listed); got != want || err != nil {
			t.Errorf("%s of a list: %v (%v), want %v", version, got, err, want)
		}
	}
}

func TestSeverity(t *testing.T) {
	t.Parallel()
	target := Target{Ecosystem: "Debian:13", Name: "p"}
	const critical, low = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"
	for _, tc := range []struct {
		scores, urgency, database string
		want                      Severity
		score                     float64
	}{
		{critical, "", "", Critical, 9.8},
		{low, "", "", Low, 1.6},
		{low + " " + critical, "", "", Critical, 9.8},
		{critical, "unimportant", "", Unimportant, 9.8},
		{low, "high", "", Low, 1.6}, // a score is newer than an urgency
		{"", "high", "", High, 0},
		{"", "not yet assigned", "", Unrated, 0},
		{"", "", "MODERATE", Medium, 0},
		{"", "", "", Unrated, 0},
		{"CVSS:3.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", "", "", High, 7.5},
		{"CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", "", "", Critical, 9.3},
		{"AV:N/AC:L/Au:N/C:P/I:P/A:P", "", "", High, 7.5},
		{"nonsense CVSS:3.1/AV:X CVSS:4.0/ CVSS:3.0/", "", "", Unrated, 0},
	} {
		var scores []string
		for s := range strings.FieldsSeq(tc.scores) {
			scores = append(scores, `{"type": "CVSS_V3", "score": "`+s+`"}`)
		}
		v := parsed(t, `{"id": "X-1", "severity": [`+strings.Join(scores, ",")+`], "affected": [{"package": {"ecosystem": "Debian:13", "name": "p"}, "ecosystem_specific": {"urgency": "`+tc.urgency+`"}}], "database_specific": {"severity": "`+tc.database+`"}}`)
		if got, score := severity(target, v); got != tc.want || score != tc.score {
			t.Errorf("%+v: %s %v", tc, got, score)
		}
	}
}

func TestAdvisoryOfItsOwn(t *testing.T) {
	t.Parallel()
	target := Target{Ecosystem: "Debian:13", Name: "openssh", Version: "1:10.0p1-7+deb13u1"}
	list, err := findings(target, slices.Collect(func(yield func(v *vulnerability) bool) {
		_ = yield(parsed(t, records["DSA-6001-1"])) && yield(parsed(t, records["DEBIAN-CVE-2025-0001"]))
	}))
	if err != nil {
		t.Fatal(err)
	}
	// CVE-2025-0002 has no record here: without the advisory it would be lost.
	if r := (Report{Findings: list}); len(list) != 2 || list[1].ID != "DSA-6001-1" || !slices.Contains(list[0].Aliases, "DSA-6001-1") {
		t.Errorf("found\n%s", found(r))
	}
}

// TestTwoFixes: what one record calls fixed, another still has.
func TestTwoFixes(t *testing.T) {
	t.Parallel()
	target := Target{Ecosystem: "Go", Name: "example.org/mod", Version: "1.2.3"}
	for _, fixed := range []string{"1.2.5", "1.2.10"} {
		list, err := findings(target, []*vulnerability{
			parsed(t, strings.Replace(records["GO-2026-0001"], "1.2.4", fixed, 1)), parsed(t, records["GHSA-aaaa-bbbb-cccc"]),
		})
		if err != nil || len(list) != 1 || list[0].Fixed != fixed {
			t.Errorf("%+v (%v), want that it is fixed in %s", list, err, fixed)
		}
	}
}

func TestHostileTexts(t *testing.T) {
	t.Parallel()
	target := Target{Ecosystem: "Go", Name: "example.org/mod", Version: "1.2.3"}
	v := parsed(t, records["GO-2026-0001"])
	v.Summary = "a\x1b]0;x\x07b\u009bc\n\u202ed"
	list, err := findings(target, []*vulnerability{v})
	if err != nil || list[0].Summary != "a]0;xbcd" {
		t.Errorf("%+v, %v", list, err)
	}
	for _, fixed := range []string{`1.2.4\u001b[2J`, `1.2.4-\u202e`} {
		w := parsed(t, strings.ReplaceAll(records["GO-2026-0001"], "1.2.4", fixed))
		if list, err := findings(target, []*vulnerability{w}); err == nil {
			t.Errorf("an escape sequence is a version: %+v", list)
		}
		ssh := Target{Ecosystem: "Debian:13", Name: "openssh", Version: "1:10.0p1-7+deb13u1"}
		w = parsed(t, strings.ReplaceAll(records["DEBIAN-CVE-2025-0001"], "1:10.0p1-7+deb13u2", fixed))
		if list, err := findings(ssh, []*vulnerability{w}); err == nil {
			t.Errorf("an escape sequence is a version: %+v", list)
		}
	}
	v.Aliases = []string{"CVE-1\x1b[2J"}
	if _, err := findings(target, []*vulnerability{v}); err == nil {
		t.Error("an escape sequence is a name")
	}
	if s := firstSentence(strings.Repeat("äx ", 200)); len([]rune(s)) != 200 {
		t.Errorf("%d letters", len([]rune(s)))
	}
}

func TestOffline(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{
		"of osv-scanner": "osv-scanner/%s/all.zip", "as downloaded": "%s/all.zip", "by name": "%s.zip", "unpacked": "%s/",
		"of the release": "%s:13/all.zip",
	} {
		dir := t.TempDir()
		for _, ecosystem := range []string{"Debian", "Go"} {
			place := strings.ReplaceAll(at, "%s", ecosystem)
			if ecosystem == "Go" {
				place = strings.ReplaceAll(place, ":13", "")
			}
			writeDatabase(t, filepath.Join(dir, place), strings.HasSuffix(at, "/"), ecosystem)
		}
		newest := map[string]string{}
		r, err := Run(t.Context(), bill(), Offline{Dir: dir, Newest: func(e string, at time.Time) { newest[e] = at.Format("2006-01-02") }}, nil, time.Time{})
		if err != nil || found(r) != wantFound {
			t.Errorf("%s: %v, found\n%swant\n%s", name, err, found(r), wantFound)
		}
		if newest["Debian:13"] != "2026-11-02" || newest["Go"] != "2026-11-03" {
			t.Errorf("%s: the newest records are of %v", name, newest)
		}
	}
}

// TestOfflineWithoutDates: where no record says when it was changed, nothing is said.
func TestOfflineWithoutDates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, ecosystem := range []string{"Debian", "Go"} {
		writeFile(t, filepath.Join(dir, ecosystem, "x.json"), `{"id": "X-1"}`)
	}
	_, err := Run(t.Context(), bill(), Offline{Dir: dir, Newest: func(e string, at time.Time) { t.Errorf("%s is of %s", e, at) }}, nil, time.Time{})
	if err != nil {
		t.Error(err)
	}
}

// writeDatabase writes the records of an ecosystem into an archive or a folder.
func writeDatabase(t *testing.T, place string, folder bool, ecosystem string) {
	t.Helper()
	files := map[string]string{"README.txt": "not a record"}
	for id, text := range records {
		if strings.Contains(text, `"ecosystem": "`+ecosystem) {
			files[id+".json"] = text
		}
	}
	if folder {
		for name, text := range files {
			writeFile(t, filepath.Join(place, name), text)
		}
		return
	}
	var b strings.Builder
	w := zip.NewWriter(&b)
	for name, text := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, place, b.String())
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOfflineFails(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file, text, want string
	}{
		{"nothing", "", "", "has no database of Debian; download OSV's all.zip of Debian to "},
		{"no archive", "Debian/all.zip", "PK?", "is no archive that can be read; download it again"},
		{"an empty folder", "Debian/x.txt", "", "has no database of Debian"},
		{"no JSON", "Debian/x.json", "{", "x.json: this is no record of OSV's"},
		{"no record", "Debian/x.json", "{}", "x.json: this is no record of OSV's: it has no id"},
		{"a version that is none", "Debian/x.json", strings.Replace(records["DEBIAN-CVE-2025-0001"], "1:10.0p1-7+deb13u2", "none", 1), `the version "none" of openssh`},
		{"only one ecosystem", "Debian/x.json", records["DEBIAN-CVE-2025-0001"], "has no database of Go"},
		{"too large", "Debian/x.json", strings.Repeat(" ", maxRecord+1), "larger than any record"},
	} {
		dir := t.TempDir()
		if tc.file != "" {
			writeFile(t, filepath.Join(dir, tc.file), tc.text)
		}
		_, err := Run(t.Context(), bill(), Offline{Dir: dir}, nil, time.Time{})
		if err == nil || !strings.Contains(err.Error(), tc.want) || fault.Of(err) != fault.OfInput {
			t.Errorf("%s: kind %d, %v; want %q", tc.name, fault.Of(err), err, tc.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	writeDatabase(t, filepath.Join(dir, "Debian"), true, "Debian")
	if _, err := Run(ctx, bill(), Offline{Dir: dir}, nil, time.Time{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was cancelled", err)
	}
}

func TestCounting(t *testing.T) {
	t.Parallel()
	f := func(id string, s Severity, fixed string, ignored bool) Finding {
		f := Finding{ID: id, Severity: s, Fixed: fixed}
		if ignored {
			f.Ignored = &Ignore{}
		}
		return f
	}
	r := Report{Findings: []Finding{
		f("critical", Critical, "2", false), f("ignored", Critical, "2", true), f("high", High, "", false), f("medium", Medium, "2", false), f("unrated", Unrated, "", false), f("unimportant", Unimportant, "", false),
	}}
	for _, tc := range []struct {
		least   Severity
		fixable bool
		want    string
	}{
		{Critical, false, "critical"}, {High, false, "critical high"}, {High, true, "critical"}, {Medium, true, "critical medium"},
		{Low, false, "critical high medium"}, {Unrated, false, "critical high medium unrated"}, {Unimportant, false, "critical high medium unrated unimportant"},
	} {
		var ids []string
		for _, f := range r.Counting(tc.least, tc.fixable) {
			ids = append(ids, f.ID)
		}
		if got := strings.Join(ids, " "); got != tc.want {
			t.Errorf("%s, fixable %v: %s, want %s", tc.least, tc.fixable, got, tc.want)
		}
	}
	if r.Ignored() != 1 {
		t.Errorf("%d are ignored", r.Ignored())
	}
	if _, err := ParseSeverity("dire"); err == nil {
		t.Error("dire is a severity")
	}
}

func TestInArchive(t *testing.T) {
	t.Parallel()
	f := func(ecosystem, name, fixed string) Finding {
		return Finding{Ecosystem: ecosystem, Package: name, Fixed: fixed, InArchive: Unknown}
	}
	r := Report{Findings: []Finding{
		f("Debian:13", "there", "1.0-1+deb13u2"), f("Debian:13", "later", "1.0-1+deb13u3"), f("Debian:13", "unfixed", ""), f("Debian:13", "gone", "2-1"), f("Go", "there", "1.0.0"), f("Debian:13", "broken", "?"),
	}}
	r.InArchive(map[string]string{"there": "1.0-1+deb13u10", "later": "1.0-1+deb13u2", "unfixed": "9-1", "broken": "1-1"})
	var got []Known
	for _, f := range r.Findings {
		got = append(got, f.InArchive)
	}
	if want := []Known{Yes, No, No, Unknown, Unknown, Unknown}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestIgnores(t *testing.T) {
	t.Parallel()
	db := t.TempDir()
	writeDatabase(t, filepath.Join(db, "Debian"), true, "Debian")
	writeDatabase(t, filepath.Join(db, "Go"), true, "Go")
	list, err := parseIgnores([]byte(`# What does not count here.
ignore:
  - {id: CVE-2025-0001, package: openssh, reason: the tunnel is in front, until: 2026-11-30}
  - {id: GO-2026-0001, reason: never called, until: 2026-12-31}
  - {id: CVE-2025-0003, reason: too old, until: 2026-11-29}
  - {id: CVE-2025-0002, package: bash, reason: elsewhere, until: 2027-01-01}
  - {id: CVE-1999-0001, reason: gone, until: 2027-01-01}
`))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 30, 23, 59, 59, 0, time.UTC)
	r, err := Run(t.Context(), bill(), Offline{Dir: db}, list, now)
	if err != nil {
		t.Fatal(err)
	}
	var ignored []string
	for _, f := range r.Findings {
		if f.Ignored != nil {
			ignored = append(ignored, f.ID+" "+f.Ignored.Reason)
		}
	}
	if want := []string{"CVE-2025-0001 the tunnel is in front", "CVE-2026-1111 never called"}; !slices.Equal(ignored, want) {
		t.Errorf("%q are ignored, want %q", ignored, want)
	}
	want := []string{
		"ingot.vex.yaml ignored CVE-2025-0003 until 2026-11-29, which is over; decide anew",
		"ingot.vex.yaml names CVE-2025-0002, which this image does not have; remove the entry",
		"ingot.vex.yaml names CVE-1999-0001, which this image does not have; remove the entry",
	}
	if !slices.Equal(r.Notes, want) {
		t.Errorf("notes\n%s\nwant\n%s", strings.Join(r.Notes, "\n"), strings.Join(want, "\n"))
	}
}

func TestIgnoresRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, want string }{
		{"ignore:\n  - {reason: x, until: 2027-01-01}", "entry 1 of ignore has no id"},
		{"ignore:\n  - {id: \"CVE 1\", reason: x, until: 2027-01-01}", "has no id"},
		{"ignore:\n  - {id: CVE-2025-1, until: 2027-01-01}", `the entry of "CVE-2025-1" says no reason`},
		{"ignore:\n  - {id: CVE-2025-1, reason: \" \", until: 2027-01-01}", "says no reason"},
		{"ignore:\n  - {id: CVE-2025-1, reason: x}", "has no day on which it ends"},
		{"ignore:\n  - {id: CVE-2025-1, reason: x, until: 2027-13-01}", "has no day"},
		{"ignore:\n  - {id: CVE-2025-1, reason: x, until: for ever}", "has no day"},
		{"ignore:\n  - {id: CVE-2025-1, reason: x, until: 2027-01-01}\n  - {id: CVE-2025-1, reason: y, until: 2027-01-01}", "is there twice"},
		{"ignore:\n  - {id: CVE-2025-1, reasn: x, until: 2027-01-01}", "reasn"},
		{"ignored: []", "ignored"},
		{"ignore: x", "[1:9]"},
	} {
		if list, err := parseIgnores([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v (%v), want %q", tc.text, list, err, tc.want)
		}
	}
	for _, empty := range []string{"", "# nothing yet\n", "ignore: []\n"} {
		if list, err := parseIgnores([]byte(empty)); len(list) > 0 || err != nil {
			t.Errorf("%q: %v, %v", empty, list, err)
		}
	}
	if list, err := ReadIgnores(filepath.Join(t.TempDir(), IgnoreFile)); list != nil || err != nil {
		t.Errorf("no file: %v, %v", list, err)
	}
}
