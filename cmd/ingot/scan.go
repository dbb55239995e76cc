package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ingot/config"
	"ingot/fault"
	"ingot/images"
	"ingot/images/sbom"
	"ingot/scan"
)

// scanFlags say what is asked, and what counts.
type scanFlags struct {
	offline, url, failOn, mirror string
	fixable, archive             bool
}

func scanCommand(c *console) *cobra.Command {
	var f scanFlags
	cmd := &cobra.Command{
		Use:   "scan [IMAGE|LOCK|DIR]",
		Short: "Look up the known vulnerabilities of what an image holds",
		Long: `Look up the known vulnerabilities of an image's Debian packages and Go modules in
the database OSV. The folder DIR stands for its ingot.lock and what its last build
wrote to build/` + sbom.CycloneDXFile + `. Of an image, the list in it is read and
nothing else; a name that ends in .json is such a list, one in .lock an ingot.lock.

Exit code 1 says that something counts: as severe as --fail-on, and not in
` + scan.IgnoreFile + `.`,
		Example: `  ingot scan my-server
  ingot scan --offline osv-database --fail-on critical --fixable ingot.lock`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fault.Input(fmt.Errorf("%s takes one image, lock or folder, not %d; quote a name with blanks", cmd.CommandPath(), len(args)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.scan(cmd.Context(), folderOf(args), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.offline, "offline", "", "folder with OSV's database, instead of asking its service")
	flags.StringVar(&f.url, "osv", "", "base URL of OSV's service, the public one by default")
	flags.StringVar(&f.failOn, "fail-on", string(scan.High), "least severity that counts: unimportant, unrated, low, medium, high, critical; or never")
	flags.BoolVar(&f.fixable, "fixable", false, "count only what has a fix")
	flags.BoolVar(&f.archive, "archive", false, "ask the archive which fixes it has now")
	flags.StringVar(&f.mirror, "mirror", "", "base URL of Debian's archives for --archive, that of the lock by default")
	return cmd
}

// scanned is the JSON document of scan.
type scanned struct {
	Subject string `json:"subject"`
	scan.Report
	FailOn string   `json:"fail_on"`
	Counts []string `json:"counting"` // ids of what counts
}

func (c *console) scan(ctx context.Context, subject string, f scanFlags) error {
	var least scan.Severity
	if f.failOn != "never" {
		var err error
		if least, err = scan.ParseSeverity(f.failOn); err != nil {
			return fault.Input(fmt.Errorf("--fail-on: %w; or never", err))
		}
	}
	if f.offline != "" && f.url != "" {
		return fault.Input(errors.New("--offline and --osv contradict each other; leave one out"))
	}
	s, err := c.subject(ctx, subject)
	if err != nil {
		return err
	}
	ignores, err := scan.ReadIgnores(filepath.Join(s.folder, scan.IgnoreFile))
	if err != nil {
		return fault.Input(err)
	}
	report, err := scan.Run(ctx, s.bill, c.database(f), ignores, time.Now())
	if err != nil {
		return err
	}
	if f.archive {
		c.fixesInArchive(ctx, report, s, f.mirror)
	}
	result := scanned{Subject: subject, Report: report, FailOn: f.failOn, Counts: []string{}}
	if f.failOn != "never" {
		for _, v := range report.Counting(least, f.fixable) {
			result.Counts = append(result.Counts, v.ID)
		}
	}
	return c.scanResult(result)
}

func (c *console) database(f scanFlags) scan.Database {
	if f.offline == "" {
		return scan.API{URL: f.url}
	}
	return scan.Offline{Dir: f.offline, Newest: func(ecosystem string, t time.Time) {
		c.remark("the database of %s is of %s", ecosystem, t.UTC().Format("2006-01-02"))
	}}
}

// subject is what is scanned.
type subject struct {
	bill   sbom.Bill
	folder string // that of ingot.yaml
	mirror string // of the lock, empty when there is none
}

// subject finds out what a name stands for.
func (c *console) subject(ctx context.Context, name string) (subject, error) {
	info, err := os.Stat(name)
	if err != nil {
		return subject{}, fault.Input(fmt.Errorf("there is nothing to scan: %w", err))
	}
	s := subject{folder: filepath.Dir(name)}
	switch {
	case info.IsDir():
		return c.folderSubject(name)
	case filepath.Ext(name) == ".lock":
		if s, err = lockSubject(name); err == nil {
			c.remark("a lock does not name the modules of the Go programs; scan the folder or the image after a build")
		}
		return s, err
	case filepath.Ext(name) == ".json":
		s.bill, err = readBill(name)
	default:
		s.bill, err = c.imageBill(ctx, name)
	}
	if above := filepath.Join(s.folder, ".."); isFile(filepath.Join(above, config.FileName)) {
		s.folder = above
	}
	return s, err
}

// imageBill is the list in an image.
func (c *console) imageBill(ctx context.Context, file string) (sbom.Bill, error) {
	image, err := c.look(ctx, file)
	if err != nil {
		return sbom.Bill{}, err
	}
	bill, err := image.Bill()
	if err != nil {
		return bill, fault.Input(fmt.Errorf("what %s holds is not known: %w", file, err))
	}
	return bill, nil
}

func lockSubject(file string) (subject, error) {
	lock, err := images.ReadLock(file)
	if err != nil {
		return subject{}, fault.Input(err)
	}
	bill := sbom.Bill{Suite: lock.Suite, Epoch: lock.Epoch, Components: lock.Components()}
	return subject{bill: bill, folder: filepath.Dir(file), mirror: lock.Mirror}, nil
}

// folderSubject is the packages of the lock, and what the last build knows more.
// Its packages are those of an older lock, perhaps.
func (c *console) folderSubject(dir string) (subject, error) {
	s, err := lockSubject(filepath.Join(dir, images.LockFile))
	if err != nil {
		return s, err
	}
	file := filepath.Join(dir, "build", sbom.CycloneDXFile)
	built, err := readBill(file)
	if errors.Is(err, fs.ErrNotExist) {
		c.remark("%s is not there: the Go programs of the image are not scanned; \"ingot build\" writes it", file)
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if packages := fromLock(built); !slices.EqualFunc(packages, s.bill.Components, samePackage) {
		c.remark("%s is of another lock; of it, only the Go programs are scanned", file)
		built.Components = slices.DeleteFunc(built.Components, func(k sbom.Component) bool { return k.Kind == sbom.Debian })
	}
	s.bill.Components = sbom.Sorted(slices.Concat(s.bill.Components, built.Components))
	return s, nil
}

// fromLock are the packages that a lock has, too.
func fromLock(b sbom.Bill) []sbom.Component {
	return slices.DeleteFunc(slices.Clone(b.Components), func(k sbom.Component) bool {
		return k.Kind != sbom.Debian || !slices.ContainsFunc(k.Parts, func(part string) bool {
			return part == sbom.InRoot || strings.HasPrefix(part, sbom.InContainer)
		})
	})
}

func samePackage(a, b sbom.Component) bool { return a.Name == b.Name && a.SHA256 == b.SHA256 }

// maxBill is a hundred times what a list has.
const maxBill = 16 << 20

func readBill(file string) (sbom.Bill, error) {
	f, err := os.Open(file)
	if err != nil {
		return sbom.Bill{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBill+1))
	if err != nil {
		return sbom.Bill{}, err
	}
	if len(text) > maxBill {
		return sbom.Bill{}, fault.Input(fmt.Errorf("%s has more than %d MiB, which no list of Ingot's has", file, maxBill>>20))
	}
	bill, err := sbom.Read(text)
	if err != nil {
		return bill, fault.Input(fmt.Errorf("%s: %w", file, err))
	}
	return bill, nil
}

// fixesInArchive fills in which fixes a new lock would bring. Where the archive
// cannot be asked, that stays unknown: what is vulnerable is known all the same.
func (c *console) fixesInArchive(ctx context.Context, r scan.Report, s subject, mirror string) {
	var names []string
	for _, f := range r.Findings {
		if strings.HasPrefix(f.Ecosystem, "Debian:") {
			names = append(names, f.Components...)
		}
	}
	if len(names) == 0 {
		return
	}
	now, err := images.CandidateSources(ctx, cmp.Or(mirror, s.mirror), s.bill.Suite, names)
	if err != nil {
		c.remark("which fixes the archive has is not known: %v", err)
		return
	}
	r.InArchive(now)
}

func (c *console) scanResult(r scanned) error {
	if c.json {
		if err := c.document(r); err != nil {
			return err
		}
	} else if err := c.scanTable(r); err != nil {
		return err
	}
	if len(r.Counts) == 0 {
		return nil
	}
	err := fault.Checks(fmt.Errorf("%d of %d known vulnerabilities count: --fail-on %s", len(r.Counts), len(r.Findings), r.FailOn))
	if c.json {
		return shown{err}
	}
	return err
}

func (c *console) scanTable(r scanned) error {
	for _, note := range r.Notes {
		c.remark("%s", note)
	}
	var b strings.Builder
	if len(r.Findings) > 0 {
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "SEVERITY\tID\tPACKAGE\tVERSION\tFIXED\tIN ARCHIVE\tNOTE")
		for _, f := range r.Findings {
			note := ""
			if f.Ignored != nil {
				note = fmt.Sprintf("ignored until %s: %s", f.Ignored.Until, f.Ignored.Reason)
			} else if c.verbose {
				note = f.Summary
			}
			fmt.Fprintln(w, strings.TrimRight(strings.Join([]string{
				rating(f), f.ID, f.Package, f.Version, cmp.Or(f.Fixed, "no"), string(f.InArchive), note,
			}, "\t"), "\t"))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	fmt.Fprintf(&b, "%d known vulnerabilities in %d source packages and Go modules, %d of them ignored\n", len(r.Findings), r.Scanned, r.Ignored())
	return c.write([]byte(b.String()))
}

func rating(f scan.Finding) string {
	if f.Score == 0 {
		return string(f.Severity)
	}
	return fmt.Sprintf("%s %.1f", f.Severity, f.Score)
}
