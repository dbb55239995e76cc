package scan

import (
	"slices"
	"testing"
	"time"

	"github.com/ossf/osv-schema/bindings/go/osvschema"
)

type vulnerability = osvschema.Vulnerability

// FuzzRecord: no record makes a scan crash, and one that the quick look takes for
// wanted has what the slow one needs.
func FuzzRecord(f *testing.F) {
	for _, text := range records {
		f.Add([]byte(text))
	}
	targets, err := Targets(bill())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := decode(text)
		for i, target := range targets {
			hits, _, glanced := glance(text, target.Ecosystem, map[string][]int{target.Name: {i}})
			if err != nil {
				continue
			}
			is, failed := affected(target, v)
			if failed == nil && is && glanced == nil && v.GetWithdrawn() == nil && !slices.Contains(hits, i) {
				t.Errorf("the quick look misses %s", target.Name)
			}
			_, _ = findings(target, []*vulnerability{v})
		}
	})
}

func FuzzIgnores(f *testing.F) {
	f.Add([]byte("ignore:\n  - {id: CVE-2025-1, package: p, reason: x, until: 2027-01-01}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parseIgnores(text)
		if err != nil {
			return
		}
		for _, e := range list {
			if e.ID == "" || e.Reason == "" || e.Until == "" {
				t.Errorf("half an entry was taken: %+v", e)
			}
		}
		apply(list, []Finding{{ID: "CVE-2025-1"}}, time.Time{})
	})
}
