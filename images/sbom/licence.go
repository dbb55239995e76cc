package sbom

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// maxCopyright is the size of the largest copyright file that is read; the
// kernel's, the largest of today's, has a hundredth.
const maxCopyright = 16 << 20

// Licence is what a package's copyright file in a tree says, as an SPDX
// expression: all licences of its files. It is empty when there is none that a
// machine can read.
func Licence(tree *os.Root, name string) (string, error) {
	f, err := tree.Open("usr/share/doc/" + name + "/copyright")
	if os.IsNotExist(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCopyright))
	if err != nil {
		return "", fmt.Errorf("read the licence of %s: %w", name, err)
	}
	return expression(string(text)), nil
}

// expression reads a copyright file of the machine-readable kind (DEP 5): the
// short names in its paragraphs about files. Those of stand-alone paragraphs
// hold texts.
func expression(copyright string) string {
	if !strings.HasPrefix(copyright, "Format:") {
		return ""
	}
	var all []string
	for paragraph := range strings.SplitSeq(copyright, "\n\n") {
		var files, licence bool
		var name string
		for line := range strings.Lines(paragraph) {
			key, value, _ := strings.Cut(line, ":")
			switch key {
			case "Files":
				files = true
			case "License":
				licence, name = true, strings.TrimSpace(value)
			}
		}
		if files && licence {
			all = append(all, conjunction(name)...)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > 1 {
		for i, e := range all {
			if strings.Contains(e, " OR ") {
				all[i] = "(" + e + ")"
			}
		}
	}
	return strings.Join(all, " AND ")
}

// conjunction is a short name of DEP 5 as expressions that all hold. "and" binds
// more than "or", unless there is a comma before it.
func conjunction(name string) []string {
	var all []string
	for part := range strings.SplitSeq(name, ", and ") {
		var choices []string
		for choice := range strings.SplitSeq(part, " or ") {
			var together []string
			for one := range strings.SplitSeq(choice, " and ") {
				together = append(together, licence(strings.Trim(one, " ,")))
			}
			choices = append(choices, strings.Join(slices.Compact(together), " AND "))
		}
		if len(choices) == 1 {
			all = append(all, strings.Split(choices[0], " AND ")...)
			continue
		}
		for i, c := range choices {
			if strings.Contains(c, " AND ") {
				choices[i] = "(" + c + ")"
			}
		}
		slices.Sort(choices)
		all = append(all, strings.Join(slices.Compact(choices), " OR "))
	}
	return all
}

// refPrefix begins the ids of licences that the SPDX list does not have.
const refPrefix = "LicenseRef-debian-"

var (
	gnu       = regexp.MustCompile(`^(?i)(L?GPL|AGPL|GFDL(?:-NIV)?)-?v?([0-9])(?:\.([0-9]))?(?:\.[0-9])?(\+|-or-later|-only)?$`)
	excepting = regexp.MustCompile(`^(?i)(\S+) with (\S+) exception$`)
	notInID   = regexp.MustCompile(`[^A-Za-z0-9.]+`)
)

// licence is one short name in the words of SPDX.
func licence(name string) string {
	if m := excepting.FindStringSubmatch(name); m != nil {
		base, exception := licence(m[1]), exceptions[strings.ToLower(m[2])]
		if exception != "" && !strings.HasPrefix(base, refPrefix) {
			return base + " WITH " + exception
		}
	}
	if m := gnu.FindStringSubmatch(name); m != nil {
		if id := gnuLicence(m[1], m[2], m[3], m[4]); id != "" {
			return id
		}
	}
	if id := licences[strings.ToLower(name)]; id != "" {
		return id
	}
	if name == "" || strings.Count(name, " ") > 3 { // the text itself, without a name
		return refPrefix + "unnamed"
	}
	return refPrefix + strings.Trim(notInID.ReplaceAllString(strings.ReplaceAll(name, "+", "-or-later"), "-"), "-")
}

// gnuVersions are those that the SPDX list has.
var gnuVersions = map[string][]string{
	"GPL": {"1.0", "2.0", "3.0"}, "LGPL": {"2.0", "2.1", "3.0"}, "AGPL": {"1.0", "3.0"}, "GFDL": {"1.1", "1.2", "1.3"},
}

// gnuLicence is empty for a version that there is not.
func gnuLicence(family, major, minor, later string) string {
	if minor == "" {
		minor = "0"
	}
	suffix := "-only"
	if later != "" && later != "-only" {
		suffix = "-or-later"
	}
	family, free := strings.CutSuffix(strings.ToUpper(family), "-NIV") // no invariant sections
	if free {
		suffix = "-no-invariants" + suffix
	}
	version := major + "." + minor
	if !slices.Contains(gnuVersions[family], version) {
		return ""
	}
	return family + "-" + version + suffix
}

// exceptions of the SPDX list by Debian's names.
var exceptions = map[string]string{
	"linux-syscall-note": "Linux-syscall-note",
	"bison-2.2":          "Bison-exception-2.2",
	"bison":              "Bison-exception-2.2",
	"texinfo":            "Texinfo-exception",
}

// licences of the SPDX list by Debian's names, in small letters.
var licences = map[string]string{
	"0bsd":             "0BSD",
	"afl-2.1":          "AFL-2.1",
	"apache-2":         "Apache-2.0",
	"apache-2.0":       "Apache-2.0",
	"artistic":         "Artistic-1.0",
	"artistic-2.0":     "Artistic-2.0",
	"beerware":         "Beerware",
	"bsd-2-clause":     "BSD-2-Clause",
	"bsd-3-clause":     "BSD-3-Clause",
	"bsd-4-clause":     "BSD-4-Clause",
	"bsd-4-clause-uc":  "BSD-4-Clause-UC",
	"bsl-1.0":          "BSL-1.0",
	"cc-by-3.0":        "CC-BY-3.0",
	"cc-by-4.0":        "CC-BY-4.0",
	"cc-by-sa-3.0":     "CC-BY-SA-3.0",
	"cc-by-sa-4.0":     "CC-BY-SA-4.0",
	"cc0":              "CC0-1.0",
	"cc0-1.0":          "CC0-1.0",
	"expat":            "MIT",
	"fsfap":            "FSFAP",
	"fsful":            "FSFUL",
	"fsfullr":          "FSFULLR",
	"isc":              "ISC",
	"latex2e":          "Latex2e",
	"mit":              "MIT",
	"mpl-1.1":          "MPL-1.1",
	"mpl-2.0":          "MPL-2.0",
	"ms-pl":            "MS-PL",
	"ofl-1.1":          "OFL-1.1",
	"openssl":          "OpenSSL",
	"psf-2":            "PSF-2.0",
	"unicode-dfs-2016": "Unicode-DFS-2016",
	"unlicense":        "Unlicense",
	"x11":              "X11",
	"zlib":             "Zlib",
}
