package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ingot/fault"
)

// secret is in the instance config and must be nowhere else.
const secret = "c2VjcmV0IG9mIHRoZSB0ZXN0"

func instance() []byte {
	return []byte(`{"ignition":{"version":"3.4.0"},"key":"` + secret + `","fill":"` + strings.Repeat("0123456789", 2000) + `"}`)
}

// options are an installation that is agreed to, without a restart.
func options(t *testing.T, m machine, device string) Options {
	t.Helper()
	image, sum := testImage(t)
	return Options{
		Target: m.Target, Image: image, SHA256: sum, Instance: instance(), Disk: device, Agent: agentFile(t), NoReboot: true,
		Confirmed: func(Disk) error { return nil }, diskType: "loop",
	}
}

// A disk full of garbage, with an old system's partitions and labels, becomes the
// image and nothing else.
func TestInstall(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	needs(t, "sgdisk", "mkfs.ext4", "mcopy", "fsck.vfat", "blkid")
	file := garbage(t, diskBytes)
	const start, end = 148 * mib, 178 * mib // of an old file system, behind the image
	output(t, "sgdisk", "--clear", "--new=1:2048:65535", fmt.Sprintf("--new=2:%d:%d", start/512, end/512-1), file)
	output(t, "mkfs.ext4", "-q", "-F", "-L", "ingot-var", "-E", fmt.Sprintf("offset=%d", start), file, "30M")
	device := attach(t, file)
	output(t, "partx", "--update", device) // not every kernel reads partition tables by itself
	label := func() string { return labelAt(t, file, start) }
	if label() != "ingot-var" {
		t.Fatal("there is no old file system to be cleared")
	}

	o := options(t, m, device)
	var told bytes.Buffer
	var confirmed []Disk
	o.Say = func(s string) { fmt.Fprintln(&told, s) }
	o.Progress = func(p Progress) { fmt.Fprintln(&told, p) }
	o.Confirmed = func(d Disk) error { confirmed = append(confirmed, d); return nil }
	r, err := Install(t.Context(), o)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, told.String(), read(t, m.log))
	}
	if r.ReadBack != o.SHA256 || r.Staged || r.Rebooted || r.Sent < 8*mib || r.Sent > 10*mib {
		t.Errorf("result %+v; want the SHA-256 %s read back, and 8 of 144 MiB sent", r, o.SHA256)
	}
	if len(confirmed) != 1 || confirmed[0].Path != device || confirmed[0].Bytes != diskBytes {
		t.Errorf("asked about %v", confirmed)
	}
	if got := label(); got != "" {
		t.Errorf("an old file system is still there, labelled %q", got)
	}
	isInstalled(t, file, o)
	if tail := tailOf(t, file, mib); len(bytes.Trim(tail, "\x00")) > 0 {
		t.Error("the end of the disk, where an old partition table has its copy, is not cleared")
	}
	says(t, told.String(), "writing", "reading", "that of the image")
	for what, text := range map[string]string{"the progress": told.String(), "sshd's log": string(read(t, m.log)), "the result": fmt.Sprintf("%+v", r)} {
		if strings.Contains(text, secret) {
			t.Errorf("%s has the secret of the instance config", what)
		}
	}
	m.isClean(t)
}

// isClean wants nothing to be left in the machine's memory.
func (m machine) isClean(t *testing.T) {
	t.Helper()
	if left := m.run(t, "ls -d /run/ingot-* 2>/dev/null; grep ingot /proc/mounts; true"); left != "" {
		t.Errorf("left on the machine: %q", left)
	}
}

// isInstalled looks at a disk with foreign programs: what is there is the image but
// for one file.
func isInstalled(t *testing.T, file string, o Options) {
	t.Helper()
	esp := filepath.Join(t.TempDir(), "esp")
	output(t, "dd", "if="+file, "of="+esp, "bs=1M", "skip=2", "count=128", "status=none")
	if got := output(t, "mcopy", "-i", esp, "::instance.ign", "-"); got != string(o.Instance) {
		t.Error("the instance config on the disk is another one")
	}
	output(t, "fsck.vfat", "-n", esp)
	disk, image := read(t, file), read(t, o.Image)
	for _, part := range []struct{ from, to int }{{0, espStart}, {espEnd, imageBytes}} {
		if !bytes.Equal(disk[part.from:part.to], image[part.from:part.to]) {
			t.Errorf("bytes %d to %d are not the image's", part.from, part.to)
		}
	}
}

// labelAt is the label of a file system within a file, "" when there is none.
func labelAt(t *testing.T, file string, offset int64) string {
	t.Helper()
	out, err := exec.Command("blkid", "--probe", "--offset", fmt.Sprint(offset), "--match-tag", "LABEL", "--output", "value", file).Output()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 2) { // nothing found
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func tailOf(t *testing.T, file string, n int) []byte {
	t.Helper()
	b := read(t, file)
	return b[len(b)-n:]
}

func says(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, w := range wants {
		if !strings.Contains(text, w) {
			t.Errorf("it does not say %q but:\n%s", w, text)
		}
	}
}

// run gives a command to the machine.
func (m machine) run(t *testing.T, command string) string {
	t.Helper()
	client, err := Dial(t.Context(), m.Target)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r := &remote{client: client}
	out, err := r.run(t.Context(), command)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// At the end the machine restarts: here its namespace ends.
func TestReboot(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	device, _ := loopDisk(t, diskBytes)
	o := options(t, m, device)
	o.NoReboot = false
	r, err := Install(t.Context(), o)
	if err != nil || !r.Rebooted || r.ReadBack != o.SHA256 {
		t.Fatalf("%+v, %v", r, err)
	}
	select {
	case <-m.exited:
	case <-t.Context().Done():
		t.Error("the machine did not restart")
	}
}

// A connection that breaks in the middle of the image leaves a disk that is written
// in part, and the next try begins anew.
func TestConnectionBreaks(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	device, file := loopDisk(t, diskBytes)
	o := options(t, m, device)
	info, err := os.Stat(o.Agent)
	if err != nil {
		t.Fatal(err)
	}
	whole, before := o.Target, sumOf(t, file, diskBytes)
	o.Target = m.cutAfter(info.Size() / 2)
	if _, err := Install(t.Context(), o); err == nil || sumOf(t, file, diskBytes) != before {
		t.Errorf("cut in the middle of the agent: %v; the disk must not change", err)
	}
	m.run(t, awaitClean)
	o.Target = m.cutAfter(info.Size() + 5*mib)
	_, err = Install(t.Context(), o)
	if err == nil {
		t.Fatal("the installation did not notice that the connection broke")
	}
	says(t, err.Error(), "the connection to the machine was lost", "the disk may be written in part: run this again")
	if fault.Of(err) != fault.OfProvider {
		t.Errorf("%v is a fault of kind %v", err, fault.Of(err))
	}
	o.Target = whole
	// The old agent must have noticed, or the disk is still in use.
	m.run(t, awaitClean)
	r, err := Install(t.Context(), o)
	if err != nil || r.ReadBack != o.SHA256 {
		t.Fatalf("%+v, %v", r, err)
	}
	isInstalled(t, file, o)
}

// Whatever is wrong with the disk or the image is said before anybody is asked, and
// nothing is written.
func TestRefused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	needs(t, "sgdisk")
	file := garbage(t, diskBytes)
	output(t, "sgdisk", "--clear", "--new=1:2048:65535", file)
	device := attach(t, file)
	output(t, "partx", "--update", device)
	before := sumOf(t, file, diskBytes)
	client, err := Dial(t.Context(), m.Target)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for name, c := range map[string]struct {
		change func(*Options)
		want   []string
	}{
		"no disk":      {func(o *Options) { o.Disk = "" }, []string{"name the disk to be overwritten: its disks are", device + ", 0.2 GiB"}},
		"a name":       {func(o *Options) { o.Disk = "vda" }, []string{`"vda" is no device`, device}},
		"a path":       {func(o *Options) { o.Disk = "/dev/../etc/passwd" }, []string{"is no device"}},
		"absent":       {func(o *Options) { o.Disk = "/dev/absent" }, []string{"the machine has no disk /dev/absent", device}},
		"a newline":    {func(o *Options) { o.Disk += "\n" }, []string{"is no device"}},
		"a command":    {func(o *Options) { o.Disk = "/dev/x';touch${IFS}/run/sshd/hacked;'" }, []string{"the machine has no disk"}},
		"a partition":  {func(o *Options) { o.Disk += "p1" }, []string{"p1 is no whole disk but of the type \"part\"", device}},
		"of no kind":   {func(o *Options) { o.diskType = "" }, []string{device + ` is no whole disk but of the type "loop"`}},
		"too small":    {func(o *Options) { o.MinDisk = diskBytes + 1 }, []string{device + " has 180 MiB and at least 181 MiB are needed"}},
		"for an image": {func(o *Options) { o.Image, o.SHA256 = emptyImage(t, 200*mib) }, []string{"at least 200 MiB"}},
		"another one":  {func(o *Options) { o.SHA256 = strings.Repeat("00", 32) }, []string{"and " + strings.Repeat("00", 32) + " is the one to be installed"}},
		"no ESP":       {func(o *Options) { o.Image, o.SHA256 = emptyImage(t, 80*mib) }, []string{"EFI system partition"}},
		"no instance":  {func(o *Options) { o.Instance = nil }, []string{"an instance config of 0 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, m, device)
			o.Client = client
			o.Confirmed = func(Disk) error { t.Error("somebody is asked"); return errors.New("no") }
			c.change(&o)
			_, err := Install(t.Context(), o)
			if err == nil || fault.Of(err) != fault.OfInput {
				t.Fatalf("%v is no fault of the input", err)
			}
			says(t, err.Error(), c.want...)
		})
	}
	t.Run("not agreed", func(t *testing.T) {
		o := options(t, m, device)
		refusal := errors.New("not this one")
		o.Confirmed = func(Disk) error { return refusal }
		if _, err := Install(t.Context(), o); !errors.Is(err, refusal) {
			t.Error(err)
		}
	})
	t.Run("in use", func(t *testing.T) {
		o := options(t, m, device)
		holder, err := os.OpenFile(device, os.O_RDONLY|os.O_EXCL, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer holder.Close()
		_, err = Install(t.Context(), o)
		if err == nil {
			t.Fatal("a disk in use was overwritten")
		}
		says(t, err.Error(), device+" is in use", "the machine's disk was not touched")
	})
	m.isClean(t)
	if m.run(t, "ls /run/sshd") != "" {
		t.Error("the name of a disk was run as a command")
	}
	if after := sumOf(t, file, diskBytes); after != before {
		t.Error("the disk was written to")
	}
}

// awaitClean waits until nothing is left of a broken installation, for a while.
const awaitClean = "for n in $(seq 300); do ls -d /run/ingot-install.* 2>/dev/null || exit 0; sleep 0.1; done; exit 1"

func emptyImage(t *testing.T, size int64) (file, sum string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "image.raw")
	write(t, file, nil)
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	return file, sumOf(t, file, size)
}

// Whoever gives up ends the work.
func TestCancelled(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	device, _ := loopDisk(t, diskBytes)
	o := options(t, m, device)
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(p Progress) { cancel() }
	if _, err := Install(ctx, o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Write is for a provider's rescue system: no question, no restart, and the disk is
// the image to the last byte when there is no instance config.
func TestWrite(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	device, file := loopDisk(t, diskBytes)
	name, sum := testImage(t)
	image, done, err := openImage(name, sum)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	client, err := Dial(t.Context(), m.Target)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var last int64
	o := WriteOptions{Disk: device, Agent: agentFile(t), Progress: func(done int64) {
		if done < last {
			t.Errorf("%d bytes were done, and then %d", last, done)
		}
		last = done
	}}
	got, err := Write(t.Context(), client, image, o)
	if err != nil || got != sum || last != image.Bytes {
		t.Fatalf("%s, %v after %d bytes; want %s after %d", got, err, last, sum, image.Bytes)
	}
	if onDisk := sumOf(t, file, image.Bytes); onDisk != sum {
		t.Errorf("the disk has the SHA-256 %s", onDisk)
	}
	output(t, "partx", "--update", device) // the image's own partitions
	for bad, want := range map[string]string{file: "is no disk", "/dev/null": "is no disk", "/dev/absent": "no such file", device + "p1": "is a partition"} {
		o.Disk = bad
		if _, err := Write(t.Context(), client, image, o); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "not touched") {
			t.Errorf("write to %s: %v", bad, err)
		}
	}
}
