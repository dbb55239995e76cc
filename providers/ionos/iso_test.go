package ionos

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// readISO reads a file of an ISO 9660 volume by the structures of ECMA-119, and wants
// the volume to have a label: the program that wrote it is not asked.
func readISO(t *testing.T, iso []byte, label, file string) string {
	t.Helper()
	const sector = 2048
	if len(iso) < 18*sector || string(iso[16*sector+1:16*sector+6]) != "CD001" {
		t.Fatalf("%d bytes are no ISO 9660", len(iso))
	}
	descriptor := iso[16*sector:]
	if got := strings.TrimRight(string(descriptor[40:72]), " \x00"); got != label {
		t.Errorf("the volume is called %q", got)
	}
	root := descriptor[156:190]
	at, size := binary.LittleEndian.Uint32(root[2:]), binary.LittleEndian.Uint32(root[10:])
	for dir := iso[at*sector : at*sector+size]; len(dir) > 0 && dir[0] > 0; dir = dir[dir[0]:] {
		record := dir[:dir[0]]
		// The name that Rock Ridge has.
		if !bytes.Contains(record, append([]byte{'N', 'M', byte(5 + len(file)), 1, 0}, file...)) {
			continue
		}
		from, n := binary.LittleEndian.Uint32(record[2:])*sector, binary.LittleEndian.Uint32(record[10:])
		return string(iso[from : from+n])
	}
	t.Errorf("there is no file %s", file)
	return ""
}

// A foreign program reads what is made: util-linux' blkid finds the label as the
// machine does.
func TestMakeISO(t *testing.T) {
	t.Parallel()
	config := strings.Repeat("x", 32<<10)
	iso, err := makeISO([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	if got := readISO(t, iso, configLabel, configFile); got != config {
		t.Errorf("the config has %d bytes", len(got))
	}
	program, err := exec.LookPath("blkid")
	if err != nil {
		t.Skip("there is no blkid to look at it with; apt-get install util-linux")
	}
	file := filepath.Join(t.TempDir(), "config.iso")
	if err := os.WriteFile(file, iso, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "--probe", "--output", "export", file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "LABEL=cidata\n") || !strings.Contains(string(out), "TYPE=iso9660\n") {
		t.Errorf("blkid: %v\n%s", err, out)
	}
}
