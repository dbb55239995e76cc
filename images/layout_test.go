package images

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ingot/layers"
)

func TestLayout(t *testing.T) {
	t.Parallel()
	const hash = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef"
	for _, slot := range []int64{512 * mib, 2048 * mib, 1500 * mib} {
		l := newLayout(hash, slot, 100*mib-1)
		end := uint64(mib / sectorSize) // the first MiB holds the table
		for i, p := range l.table.Partitions {
			if p.Index != i+1 || p.Start != end || p.Start%(mib/sectorSize) != 0 {
				t.Errorf("slot %d: partition %q has number %d and starts at sector %d, want %d and %d, on a MiB", slot, p.Name, p.Index, p.Start, i+1, end)
			}
			if p.Size != (p.End-p.Start+1)*sectorSize {
				t.Errorf("slot %d: partition %q has %d bytes in sectors %d to %d", slot, p.Name, p.Size, p.Start, p.End)
			}
			end = p.End + 1
		}
		// The backup table needs 33 sectors (UEFI 2.10, section 5.3).
		if last := uint64(l.bytes / sectorSize); l.bytes%sectorSize != 0 || end+33 > last {
			t.Errorf("slot %d: the last partition ends at sector %d of %d", slot, end, last)
		}
		if l.start(verityIndex) != 130*mib || l.start(rootIndex) != 130*mib+layers.VerityBytes(slot) || l.bytes != 231*mib+layers.VerityBytes(slot) {
			t.Errorf("slot %d: verity at %d, root at %d, %d bytes", slot, l.start(verityIndex), l.start(rootIndex), l.bytes)
		}
	}
	l := newLayout(hash, 512*mib, mib)
	for index, want := range map[int]string{
		rootIndex:   "00112233-4455-6677-8899-AABBCCDDEEFF",
		verityIndex: "01234567-89AB-CDEF-0123-456789ABCDEF",
	} {
		if got := l.table.Partitions[index-1].GUID; got != want {
			t.Errorf("partition %d has UUID %s, want %s: its half of the root hash", index, got, want)
		}
	}
}

func TestDerivedUUIDs(t *testing.T) {
	t.Parallel()
	version8 := regexp.MustCompile(`^[0-9A-F]{8}-[0-9A-F]{4}-8[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}$`)
	seen := map[string]bool{}
	for _, what := range []string{"disk", "bios", "esp"} {
		for _, hash := range []string{digits("a"), digits("b")} {
			id := derivedUUID(what, hash)
			if !version8.MatchString(id) || seen[id] || id != derivedUUID(what, hash) {
				t.Errorf("%s of %s is %s", what, hash[:4], id)
			}
			seen[id] = true
		}
	}
}

func TestCheckFill(t *testing.T) {
	t.Parallel()
	const slot = 1000 * mib
	root := filepath.Join(t.TempDir(), "root.erofs")
	if err := checkFill(root, slot); err == nil {
		t.Error("a missing root: no error")
	}
	for size, fits := range map[int64]bool{1: true, 900 * mib: true, 900*mib + 1: false, 905 * mib: false, 2000 * mib: false} {
		if err := os.WriteFile(root, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(root, size); err != nil {
			t.Fatal(err)
		}
		if err := checkFill(root, slot); (err == nil) != fits || err != nil && !strings.Contains(err.Error(), "raise base.slotSize") {
			t.Errorf("%d bytes of %d: %v", size, slot, err)
		}
	}
}

// docs/image.md says it for the default slot.
func TestSmallestDisk(t *testing.T) {
	t.Parallel()
	if got := SmallestDisk(2 << 30); got != 4803*mib {
		t.Errorf("%d MiB", got/mib)
	}
}
