package scan

import (
	"archive/zip"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/ossf/osv-schema/bindings/go/osvschema"

	"ingot/fault"
)

// Offline is a folder with OSV's exports, one for each ecosystem: as osv-scanner
// keeps them (osv-scanner/Debian/all.zip), as they are downloaded (Debian/all.zip
// or Debian.zip), or unpacked (Debian/*.json).
type Offline struct {
	Dir string
	// Newest is told when the newest record of an ecosystem was changed, where one says so.
	Newest func(ecosystem string, t time.Time)
}

// maxRecord is the size of the largest record that is read, in bytes. The largest
// of today's are those of the kernel, with a megabyte.
const maxRecord = 32 << 20

// Affecting implements [Database].
func (o Offline) Affecting(ctx context.Context, targets []Target) ([][]*osvschema.Vulnerability, error) {
	list := make([][]*osvschema.Vulnerability, len(targets))
	for _, ecosystem := range ecosystems(targets) {
		wanted := map[string][]int{}
		for i, t := range targets {
			if t.Ecosystem == ecosystem {
				wanted[t.Name] = append(wanted[t.Name], i)
			}
		}
		var newest time.Time
		err := o.each(ctx, ecosystem, func(name string, text []byte) error {
			hits, changed, err := glance(text, ecosystem, wanted)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if changed.After(newest) {
				newest = changed
			}
			if len(hits) == 0 {
				return nil
			}
			v, err := decode(text)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			for _, i := range hits {
				is, err := affected(targets[i], v)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				if is {
					list[i] = append(list[i], v)
				}
			}
			return nil
		})
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, fault.Input(err)
		}
		if o.Newest != nil && !newest.IsZero() {
			o.Newest(ecosystem, newest)
		}
	}
	return list, nil
}

func ecosystems(targets []Target) []string {
	var names []string
	for _, t := range targets {
		names = append(names, t.Ecosystem)
	}
	return joined(names, nil)
}

// glance reads of a record what says whether it is wanted: most are not, and
// reading all of each takes several times as long.
func glance(text []byte, ecosystem string, wanted map[string][]int) ([]int, time.Time, error) {
	var r struct {
		ID        string    `json:"id"`
		Modified  time.Time `json:"modified"`
		Withdrawn string    `json:"withdrawn"`
		Affected  []struct {
			Package struct{ Ecosystem, Name string } `json:"package"`
		} `json:"affected"`
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, r.Modified, fmt.Errorf("this is no record of OSV's: %w", err)
	}
	if r.ID == "" {
		return nil, r.Modified, fmt.Errorf("this is no record of OSV's: it has no id")
	}
	if r.Withdrawn != "" {
		return nil, r.Modified, nil
	}
	base, _, _ := strings.Cut(ecosystem, ":")
	names := map[string]bool{}
	var hits []int
	for _, a := range r.Affected {
		if p := a.Package; (p.Ecosystem == ecosystem || p.Ecosystem == base) && !names[p.Name] {
			names[p.Name] = true
			hits = append(hits, wanted[p.Name]...)
		}
	}
	return hits, r.Modified, nil
}

// each calls f with every record of an ecosystem.
func (o Offline) each(ctx context.Context, ecosystem string, f func(name string, text []byte) error) error {
	base, _, _ := strings.Cut(ecosystem, ":")
	var places []string
	for _, name := range []string{ecosystem, base} {
		places = append(places, "osv-scanner/"+name+"/all.zip", name+"/all.zip", name+".zip", name)
	}
	for _, place := range places {
		place = filepath.Join(o.Dir, filepath.FromSlash(place))
		info, err := os.Stat(place)
		switch {
		case err != nil:
			continue
		case info.IsDir():
			if found, err := filepath.Glob(filepath.Join(place, "*.json")); err != nil || len(found) == 0 {
				continue
			}
			return eachIn(ctx, os.DirFS(place), place, f)
		}
		archive, err := zip.OpenReader(place)
		if err != nil {
			return fmt.Errorf("%s is no archive that can be read; download it again: %w", place, err)
		}
		defer archive.Close()
		return eachIn(ctx, archive, place, f)
	}
	return fmt.Errorf("%s has no database of %s; download OSV's all.zip of %[2]s to %[3]s, as osv-scanner does, or unpack it there", o.Dir, base, filepath.Join(o.Dir, base, "all.zip"))
}

// eachIn reads the records in a folder or an archive.
func eachIn(ctx context.Context, place fs.FS, name string, f func(string, []byte) error) error {
	records := 0
	err := fs.WalkDir(place, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return cmp.Or(ctx.Err(), err)
		}
		if d.IsDir() || path.Ext(file) != ".json" {
			return nil
		}
		r, err := place.Open(file)
		if err != nil {
			return err
		}
		defer r.Close()
		text, err := io.ReadAll(io.LimitReader(r, maxRecord+1))
		if err != nil {
			return fmt.Errorf("read %s of %s: %w", file, name, err)
		}
		if len(text) > maxRecord {
			return fmt.Errorf("%s of %s is larger than any record of OSV's", file, name)
		}
		records++
		return f(name+": "+file, text)
	})
	if err == nil && records == 0 {
		err = fmt.Errorf("%s holds no records", name)
	}
	return err
}
