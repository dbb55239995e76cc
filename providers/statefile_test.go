package providers

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"ingot/fault"
)

// What the machine finds, for programs of the same origin as the kernel's driver.
func TestStateFile(t *testing.T) {
	t.Parallel()
	if _, err := mke2fs(); err != nil {
		t.Skip(err)
	}
	f, err := StateFile(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != StateBytes {
		t.Errorf("%v, %v", info, err)
	}
	label, err := exec.Command("blkid", "-o", "value", "-s", "LABEL", f.Name()).Output()
	if err != nil || string(label) != StateLabel+"\n" {
		t.Errorf("the label is %q, %v", label, err)
	}
	// It grows to the largest volume that is promised, as the machine has it grow.
	if err := os.Truncate(f.Name(), 1<<40); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"e2fsck", "-fn"}, {"resize2fs"}, {"e2fsck", "-fn"}} {
		if out, err := exec.Command("/sbin/"+argv[0], append(argv[1:], f.Name())...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
	}
	text, err := exec.Command("/sbin/dumpe2fs", "-h", f.Name()).CombinedOutput()
	if err != nil || !strings.Contains(string(text), "Block count:              268435456\n") {
		t.Errorf("it did not grow: %v\n%s", err, text)
	}
}

// The bytes are the same every time, and of this system they take nothing.
func TestStateFileIsTheSame(t *testing.T) {
	if _, err := mke2fs(); err != nil {
		t.Skip(err)
	}
	var made [][]byte
	for _, env := range []map[string]string{
		{"TZ": "UTC", "MKE2FS_CONFIG": "/dev/null"},
		{"TZ": "Asia/Tokyo", "E2FSPROGS_FAKE_TIME": "1", "MKE2FS_FIRST_META_BG": "1", "MKE2FS_DEVICE_SECTSIZE": "4096"},
	} {
		for name, value := range env {
			t.Setenv(name, value)
		}
		f, err := StateFile(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, b)
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("two file systems differ")
	}
}

func TestStateFileWithoutMke2fs(t *testing.T) {
	t.Parallel()
	if _, err := StateFile(t.Context(), "/nowhere"); fault.Of(err) != fault.OfMachine {
		t.Errorf("%v", err)
	}
}
