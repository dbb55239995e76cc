package inspect

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// page is a text in the making: headings, and tables below them.
type page struct{ strings.Builder }

func (p *page) heading(format string, a ...any) {
	if p.Len() > 0 {
		p.WriteByte('\n')
	}
	fmt.Fprintf(p, format+"\n", a...)
}

// rows writes a table, two blanks to its left.
func (p *page) rows(list [][]string) {
	w := tabwriter.NewWriter(p, 0, 0, 2, ' ', tabwriter.DiscardEmptyColumns)
	for _, row := range list {
		for i := range row {
			row[i] = printable(row[i])
		}
		fmt.Fprintln(w, "  "+strings.Join(row, "\t"))
	}
	_ = w.Flush() // a strings.Builder takes everything
}

// to writes the page without blanks at the ends of lines.
func (p *page) to(w io.Writer) error {
	var b strings.Builder
	for line := range strings.Lines(p.String()) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// printable makes the names in a stranger's image harmless to a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return '\ufffd'
	}, s)
}

// Text writes an image for people; all lists everything.
func (i Image) Text(w io.Writer, all bool) error {
	p := &page{}
	fmt.Fprintf(p, "%s\n", printable(i.Path))
	seal := "every block is as it was sealed"
	if i.Broken != "" {
		seal = "BROKEN: " + i.Broken
	}
	var bytes int64
	for _, f := range i.Files {
		bytes += f.Bytes
	}
	p.rows([][]string{
		{"sha256", i.SHA256}, {"root hash", i.RootHash}, {"", seal},
		{"size", fmt.Sprintf("%s, %s on disk", amount(i.Bytes), amount(i.DiskBytes))},
		{"system", i.System}, {"kernel", i.Kernel.Version},
		{"root", fmt.Sprintf("%d files, %s, compressed to %s", len(i.Files), amount(bytes), amount(i.RootBytes))},
		{"packages", fmt.Sprint(len(i.Packages))},
	})
	p.heading("partitions")
	var rows [][]string
	for _, d := range i.Partitions {
		rows = append(rows, []string{fmt.Sprint(d.Number), d.Name, amount(d.Bytes), d.UUID})
	}
	p.rows(rows)
	p.heading("open ports, as the ruleset has them")
	rows = nil
	for _, o := range i.Ports {
		rows = append(rows, []string{o.Proto + " " + o.Port, "from " + o.From, o.Why})
	}
	p.rows(rows)
	p.heading("sockets that systemd opens")
	rows = nil
	for _, s := range i.Sockets {
		rows = append(rows, []string{s.Unit, strings.Join(s.Listen, ", ")})
	}
	p.rows(rows)
	p.units(i.Units)
	p.users(i, all)
	if len(i.Documents) > 0 {
		p.heading("what the build says of itself")
		rows = nil
		for _, d := range i.Documents {
			rows = append(rows, []string{d.Path, d.Kind, fmt.Sprintf("%d bytes", d.Bytes)})
		}
		p.rows(rows)
	}
	p.heading("kernel arguments")
	p.paragraph(strings.Join(i.Kernel.Arguments, " "))
	if all {
		p.everything(i)
	}
	return p.to(w)
}

func (p *page) units(units []Unit) {
	p.heading("units that /etc enables, masks or changes")
	var rows [][]string
	for _, u := range units {
		_, said := unitRow(u)
		rows = append(rows, []string{u.Name, said})
	}
	p.rows(rows)
}

// users lists who can log in or has a password; all lists everybody.
func (p *page) users(i Image, all bool) {
	p.heading("users")
	var rows [][]string
	for _, u := range i.Users {
		if all || u.Password != "none" || canLogIn(u.Shell) {
			rows = append(rows, []string{u.Name, fmt.Sprintf("%d:%d", u.UID, u.GID), u.Shell, "password " + u.Password})
		}
	}
	p.rows(rows)
	if n := len(i.Users) - len(rows); n > 0 {
		fmt.Fprintf(p, "  and %d without a password and a shell\n", n)
	}
}

func canLogIn(shell string) bool {
	return !strings.HasSuffix(shell, "/nologin") && !strings.HasSuffix(shell, "/false")
}

func (p *page) everything(i Image) {
	p.heading("packages")
	var rows [][]string
	for _, q := range i.Packages {
		rows = append(rows, []string{q.Name, q.Version, q.Arch})
	}
	p.rows(rows)
	p.heading("files")
	rows = nil
	for _, f := range i.Files {
		name := f.Path
		if f.Target != "" {
			name += " -> " + f.Target
		}
		rows = append(rows, []string{f.Mode, fmt.Sprintf("%d:%d", f.UID, f.GID), fmt.Sprint(f.Bytes), f.Type, name, f.Package})
	}
	p.rows(rows)
}

// paragraph writes words in lines of at most 78 columns.
func (p *page) paragraph(s string) {
	column := 0
	for _, word := range strings.Fields(printable(s)) {
		switch {
		case column == 0:
			p.WriteString("  ")
			column = 2
		case column+1+len(word) > 78:
			p.WriteString("\n  ")
			column = 2
		default:
			p.WriteByte(' ')
			column++
		}
		p.WriteString(word)
		column += len(word)
	}
	if column > 0 {
		p.WriteByte('\n')
	}
}

// Text writes what takes space; all lists every package and file.
func (s Size) Text(w io.Writer, all bool) error {
	p := &page{}
	var whole Taken
	for _, q := range s.Packages {
		whole.Files, whole.Bytes, whole.Stored = whole.Files+q.Files, whole.Bytes+q.Bytes, whole.Stored+q.Stored
	}
	loose := Taken{}
	for _, f := range s.Loose {
		loose.add(f)
	}
	var esp int64
	for _, f := range s.ESP {
		esp += f.Bytes
	}
	p.heading("%s on disk: %s root, %s ESP, the rest is the hash tree and the boot code", amount(s.DiskBytes), amount(s.RootBytes), amount(esp))
	p.rows([][]string{
		{"in the image", "unpacked", "files", ""},
		{amount(whole.Stored), amount(whole.Bytes), fmt.Sprint(whole.Files), fmt.Sprintf("%d packages", len(s.Packages))},
		{amount(loose.Stored), amount(loose.Bytes), fmt.Sprint(loose.Files), "files of no package"},
	})
	p.heading("who asked for packages, and what would go with them")
	rows := [][]string{{"alone", "with shared", "packages", ""}}
	for _, a := range s.Askers {
		said := a.Name
		if names := strings.Join(a.Asked, ", "); names != "" && names != a.Name {
			said += ": " + names
		}
		rows = append(rows, []string{amount(a.Alone), amount(a.Stored), fmt.Sprint(a.Packages), said})
	}
	p.rows(rows)
	p.heading("packages")
	rows = [][]string{{"in the image", "unpacked", "", "asked for by"}}
	for _, q := range first(s.Packages, 25, all) {
		rows = append(rows, []string{amount(q.Stored), amount(q.Bytes), q.Name, strings.Join(first(q.AskedBy, 4, all), ", ")})
		if n := len(q.AskedBy) - 4; n > 0 && !all {
			rows[len(rows)-1][3] += fmt.Sprintf(" and %d more", n)
		}
	}
	p.rows(rows)
	p.more(len(s.Packages), 25, all)
	p.heading("folders")
	rows = nil
	for _, f := range first(s.Folders, 8, all) {
		rows = append(rows, []string{amount(f.Stored), amount(f.Bytes), fmt.Sprintf("%d files", f.Files), f.Path})
	}
	p.rows(rows)
	p.files("files of no package, which layers and package scripts made", s.Loose, all)
	p.files("ESP", s.ESP, all)
	return p.to(w)
}

func (p *page) files(heading string, files []File, all bool) {
	p.heading("%s", heading)
	var rows [][]string
	for _, f := range first(files, 12, all) {
		rows = append(rows, []string{amount(f.Stored), amount(f.Bytes), f.Path})
	}
	p.rows(rows)
	p.more(len(files), 12, all)
}

// more says what first left out.
func (p *page) more(n, shown int, all bool) {
	if n > shown && !all {
		fmt.Fprintf(p, "  and %d more; --files lists all\n", n-shown)
	}
}

func first[T any](list []T, n int, all bool) []T {
	if all {
		return list
	}
	return list[:min(n, len(list))]
}

// Text writes what changes, for a look before a deploy; all lists every file
// instead of a line for each package.
func (d Diff) Text(w io.Writer, all bool) error {
	p := &page{}
	p.rows([][]string{{"a", d.A.Path, d.A.SHA256, d.A.Broken}, {"b", d.B.Path, d.B.SHA256, d.B.Broken}})
	switch {
	case d.Same:
		p.heading("The images are identical, bit for bit.")
	case d.Alike():
		p.heading("The images have other bytes, and no difference in files, packages, units, ports, users or the kernel.")
	}
	for _, s := range d.Sections() {
		p.heading("%s: %s", s.Title, tally(s.Changes))
		var rows [][]string
		for _, c := range s.Changes {
			rows = append(rows, []string{sign(c) + " " + c.Name, c.said()})
		}
		p.rows(rows)
	}
	p.fileChanges(d, all)
	return p.to(w)
}

// Section is a kind of changes with its name.
type Section struct {
	ID      string // an anchor
	Title   string
	Changes []Change
}

// Sections are the kinds that have changes, what matters most first.
func (d Diff) Sections() []Section {
	var list []Section
	for _, s := range []Section{
		{"ports", "open ports", d.Ports}, {"sockets", "sockets", d.Sockets}, {"users", "users and groups", d.Users}, {"units", "units", d.Units},
		{"packages", "packages", d.Packages}, {"arguments", "kernel arguments", d.Arguments}, {"config", "kernel configuration", d.Config}, {"facts", "kernel, boot and sizes", d.Facts},
	} {
		if len(s.Changes) > 0 {
			list = append(list, s)
		}
	}
	return list
}

func (p *page) fileChanges(d Diff, all bool) {
	if len(d.Files) == 0 {
		return
	}
	folds, loose := d.Folds()
	p.heading("files: %s", count(d.Files))
	var rows [][]string
	if all {
		folds, loose = nil, d.Files
	}
	for _, f := range loose {
		rows = append(rows, []string{fileSign(f) + " " + f.Path, f.Package, strings.Join(f.What, ", ")})
	}
	p.rows(rows)
	rows = nil
	for _, f := range folds {
		rows = append(rows, []string{"  " + f.Name, count(f.Files)})
	}
	p.rows(rows)
	if len(folds) > 0 {
		p.WriteString("  --files lists each\n")
	}
}

func sign(c Change) string {
	switch {
	case c.Old == "":
		return "+"
	case c.New == "":
		return "-"
	}
	return "~"
}

func fileSign(f FileChange) string {
	return map[string]string{"added": "+", "removed": "-", "changed": "~"}[f.Change]
}

// said is a change without its name.
func (c Change) said() string {
	if c.Old != "" && c.New != "" {
		return short(c.Old) + " → " + short(c.New)
	}
	return short(cmp.Or(c.Old, c.New))
}

// short is enough of a digest to tell two apart; other texts stay.
func short(s string) string {
	if rootHashOf.MatchString(s) {
		return s[:12] + "…"
	}
	return s
}

// tally counts additions, removals and changes: "2 added, 1 changed".
func tally(list []Change) string {
	var n [3]int
	for _, c := range list {
		n[strings.Index("+-~", sign(c))]++
	}
	return counted(n)
}

func count(list []FileChange) string {
	var n [3]int
	for _, f := range list {
		n[strings.Index("+-~", fileSign(f))]++
	}
	return counted(n)
}

func counted(n [3]int) string {
	var said []string
	for i, word := range []string{"added", "removed", "changed"} {
		if n[i] > 0 {
			said = append(said, fmt.Sprintf("%d %s", n[i], word))
		}
	}
	return strings.Join(said, ", ")
}
