package share

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const epoch = 1794475820

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// newStage is a folder with everything that a stage may hold.
func newStage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	must(t,
		os.MkdirAll(file("tree/usr/bin"), 0o755), os.Mkdir(file("tree/tmp"), 0o700), os.Mkdir(file("tree/closed"), 0o700),
		os.WriteFile(file("tree/usr/bin/sudo"), []byte("sudo"), 0o755),
		os.Link(file("tree/usr/bin/sudo"), file("tree/usr/bin/sudoedit")),
		os.Symlink("/etc/alternatives/x", file("tree/usr/bin/x")), os.Symlink("..", file("tree/usr/bin/up")),
		os.WriteFile(file("tree/usr/größe\n \\x"), nil, 0o600),
		os.WriteFile(file("tree/"+strings.Repeat("long", 60)), []byte("l"), 0o644),
		os.WriteFile(file("tree/closed/file"), []byte("c"), 0o000),
		os.WriteFile(file("vmlinuz"), bytes.Repeat([]byte("kernel"), 100_000), 0o644),
		unix.Mkfifo(file("tree/pipe"), 0o644), // left out
	)
	if os.Geteuid() == 0 {
		must(t, os.Chown(file("tree/usr/bin/sudo"), 0, 33), os.Chown(file("tree/closed"), 101, 102), os.Lchown(file("tree/usr/bin/x"), 5, 6))
		// cap_net_raw=ep, version 2 of capability.h
		must(t, unix.Setxattr(file("vmlinuz"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	}
	_ = unix.Setxattr(file("tree/usr"), "user.note", []byte("a\x00b"), 0) // not on every file system
	disk, err := os.Create(file("image.raw"))
	must(t, err)
	noise := make([]byte, 300_000)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	_, err1 := disk.WriteAt(noise, 0)
	_, err2 := disk.WriteAt(noise, 100<<20+12345)
	_, err3 := disk.WriteAt(noise[:1], 300<<20-1)
	must(t, err1, err2, err3, disk.Close())
	must(t,
		os.Chmod(file("tree/usr/bin/sudo"), fs.ModeSetuid|fs.ModeSetgid|0o755), os.Chmod(file("tree/tmp"), fs.ModeSticky|0o777),
		os.Chmod(file("tree/closed"), 0o500),
		os.Chtimes(file("tree/usr/bin"), time.Unix(1_000_000_000, 0), time.Unix(1_000_000_000, 0)),
		os.Chtimes(file("tree/usr/bin/sudo"), time.Unix(1_600_000_000, 0), time.Unix(1_600_000_000, 0)),
	)
	t.Cleanup(func() { _ = os.Chmod(file("tree/closed"), 0o700) })
	return dir
}

func packed(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, Pack(&b, dir, epoch))
	return b.Bytes()
}

// described is everything that is to be kept of a folder, a line a file.
func described(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	names := map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == dir || d.Type() == fs.ModeNamedPipe {
			return err
		}
		var st unix.Stat_t
		must(t, unix.Lstat(file, &st))
		name, _ := filepath.Rel(dir, file)
		fmt.Fprintf(&b, "%q %o %d:%d %d", name, st.Mode, st.Uid, st.Gid, min(st.Mtim.Sec, epoch))
		records := map[string]string{}
		if d.Type() != fs.ModeSymlink {
			must(t, xattrs(file, records))
		}
		fmt.Fprintf(&b, " %q", records)
		if d.Type() == 0 {
			content, err := os.ReadFile(file)
			must(t, err)
			fmt.Fprintf(&b, " %d %x", len(content), sha256.Sum256(content))
			if names[st.Ino] == "" {
				names[st.Ino] = name
			}
			fmt.Fprintf(&b, " %q", names[st.Ino])
		}
		target, _ := os.Readlink(file)
		fmt.Fprintf(&b, " %q\n", target)
		return nil
	}))
	return b.String()
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	dir, to := newStage(t), t.TempDir()
	archive := packed(t, dir)
	if len(archive) > 3<<20 {
		t.Errorf("the archive has %d bytes: holes are packed", len(archive))
	}
	must(t, Unpack(bytes.NewReader(archive), to))
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(to, "tree/closed"), 0o700) })
	want, got := strings.Split(described(t, dir), "\n"), strings.Split(described(t, to), "\n")
	if !slices.Equal(got, want) {
		t.Errorf("unpacked:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !bytes.Equal(packed(t, to), archive) {
		t.Error("what was unpacked gives another archive")
	}
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(to, "image.raw"), &st))
	if st.Blocks*512 > 2<<20 {
		t.Errorf("the image takes %d bytes on the disk: its holes are gone", st.Blocks*512)
	}
}

// The same content gives the same bytes, whenever and in whatever order it was
// made, and whether zeros are stored or not.
func TestPackIsDeterministic(t *testing.T) {
	t.Parallel()
	var archives [][]byte
	for i := range 2 {
		dir := t.TempDir()
		names := []string{"a", "b", "c/d"}
		if i == 1 {
			slices.Reverse(names)
		}
		must(t, os.Mkdir(filepath.Join(dir, "c"), 0o755))
		for _, name := range names {
			file := filepath.Join(dir, name)
			must(t, os.WriteFile(file, []byte(name), 0o644))
			must(t, os.Chtimes(file, time.Now(), time.Now().Add(-time.Duration(i)*time.Minute)))
		}
		big := filepath.Join(dir, "big")
		content := append(make([]byte, 5<<20), "end"...)
		if i == 1 {
			must(t, os.WriteFile(big, content, 0o644))
		} else {
			must(t, os.WriteFile(big, nil, 0o644), os.Truncate(big, 5<<20))
			f, err := os.OpenFile(big, os.O_WRONLY|os.O_APPEND, 0)
			must(t, err)
			_, err = f.WriteString("end")
			must(t, err, f.Close())
		}
		archives = append(archives, packed(t, dir))
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("two archives of the same content differ")
	}
	first, err := Compress(t.TempDir(), writes(archives[0]))
	must(t, err)
	second, err := Compress(t.TempDir(), writes(archives[0]))
	must(t, err)
	if first.digest != second.digest || first.bytes != second.bytes || first.bytes <= 0 {
		t.Errorf("two layers of the same archive: %s and %s", first.digest, second.digest)
	}
}

func TestHoles(t *testing.T) {
	t.Parallel()
	for name, content := range map[string][]byte{
		"nothing but zeros": make([]byte, sparseFrom+3),
		"zeros at the end":  append(bytes.Repeat([]byte{1}, sparseFrom), make([]byte, sparseBlock)...),
		"zeros before data": append(make([]byte, sparseFrom+sparseBlock/2), 7),
		"a short last part": append(append(make([]byte, sparseFrom), bytes.Repeat([]byte{1}, sparseBlock)...), 0),
		"none":              bytes.Repeat([]byte{1}, sparseFrom+1),
		"small":             make([]byte, sparseFrom-1),
	} {
		dir, to := t.TempDir(), t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "f"), content, 0o644))
		must(t, Unpack(bytes.NewReader(packed(t, dir)), to))
		got, err := os.ReadFile(filepath.Join(to, "f"))
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes came back, want the %d (%v)", name, len(got), len(content), err)
		}
	}
}

// archiveOf is a tar of these headers, a file's data are its name.
func archiveOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		h.Format = tar.FormatPAX
		if h.Typeflag == tar.TypeReg && h.Size == 0 {
			h.Size = 1
		}
		must(t, w.WriteHeader(&h))
		_, err := w.Write(make([]byte, h.Size))
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	uid, gid := os.Geteuid(), os.Getegid()
	tree := tar.Header{Name: "tree/", Typeflag: tar.TypeDir, Mode: 0o755, Uid: uid, Gid: gid}
	file := func(name string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Uid: uid, Gid: gid}
	}
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink, Mode: 0o777, Uid: uid, Gid: gid}
	}
	hard := func(name, to string) tar.Header {
		return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink, Mode: 0o644, Uid: uid, Gid: gid}
	}
	changed := func(h tar.Header, change func(*tar.Header)) tar.Header {
		change(&h)
		return h
	}
	sparse := func(text string, size int64) tar.Header {
		return changed(file("tree/f"), func(h *tar.Header) { h.PAXRecords, h.Size = map[string]string{sparseRecord: text}, size })
	}
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.Mkdir(outside, 0o755))
	for name, tc := range map[string]struct {
		headers []tar.Header
		want    string
	}{
		"a name above":              {[]tar.Header{file("../f")}, "leads out of the stage"},
		"a name above, from below":  {[]tar.Header{tree, file("tree/../../f")}, "leads out of the stage"},
		"an absolute name":          {[]tar.Header{file(outside + "/f")}, "leads out of the stage"},
		"through a link":            {[]tar.Header{tree, link("tree/l", outside), file("tree/l/f")}, "not below a folder"},
		"over a link":               {[]tar.Header{tree, link("tree/l", outside+"/f"), file("tree/l")}, "there twice"},
		"a folder over a link":      {[]tar.Header{tree, link("tree/l", outside), changed(tree, func(h *tar.Header) { h.Name = "tree/l/" })}, "there twice"},
		"a link outside the tree":   {[]tar.Header{link("vmlinuz", "/etc/shadow")}, "in a stage's tree only"},
		"the tree a link":           {[]tar.Header{link("tree", "/")}, "in a stage's tree only"},
		"a hard link to the host":   {[]tar.Header{hard("passwd", "/etc/passwd")}, "no file before it"},
		"a hard link above":         {[]tar.Header{hard("passwd", "../passwd")}, "no file before it"},
		"a hard link to a link":     {[]tar.Header{tree, link("tree/l", "/etc/passwd"), hard("vmlinuz", "tree/l")}, "no file before it"},
		"a hard link to a folder":   {[]tar.Header{tree, hard("x", "tree")}, "no file before it"},
		"a device":                  {[]tar.Header{changed(file("sda"), func(h *tar.Header) { h.Typeflag, h.Devmajor = tar.TypeBlock, 8 })}, "of the type '4'"},
		"a character device":        {[]tar.Header{changed(file("mem"), func(h *tar.Header) { h.Typeflag, h.Devmajor = tar.TypeChar, 1 })}, "of the type '3'"},
		"a pipe":                    {[]tar.Header{changed(file("p"), func(h *tar.Header) { h.Typeflag = tar.TypeFifo })}, "of the type '6'"},
		"no folder":                 {[]tar.Header{file("tree/f")}, "not below a folder"},
		"below a file":              {[]tar.Header{file("a"), file("a/b")}, "not below a folder"},
		"the stage itself":          {[]tar.Header{changed(tree, func(h *tar.Header) { h.Name = "./" })}, "there twice"},
		"a foreign id":              {[]tar.Header{changed(file("f"), func(h *tar.Header) { h.Uid = maxID })}, "ids are below"},
		"a mode":                    {[]tar.Header{changed(file("f"), func(h *tar.Header) { h.Mode = 0o100644 })}, "it has the mode"},
		"an attribute":              {[]tar.Header{changed(file("f"), func(h *tar.Header) { h.PAXRecords = map[string]string{xattrRecord + "trusted.overlay.opaque": "y"} })}, "trusted.overlay.opaque"},
		"a record of GNU's":         {[]tar.Header{changed(file("f"), func(h *tar.Header) { h.PAXRecords = map[string]string{"COMMENT.x": "y"} })}, "it has the record"},
		"holes that overlap":        {[]tar.Header{tree, sparse("100 0:10 5:10", 20)}, "does not describe"},
		"holes beyond the end":      {[]tar.Header{tree, sparse("100 95:10", 10)}, "does not describe"},
		"holes with less data":      {[]tar.Header{tree, sparse("100 0:10", 5)}, "does not describe"},
		"holes of a huge file":      {[]tar.Header{tree, sparse("9000000000000000000 0:1", 1)}, "does not describe"},
		"holes of no number":        {[]tar.Header{tree, sparse("x", 1)}, "does not describe"},
		"holes of a negative place": {[]tar.Header{tree, sparse("100 -5:1", 1)}, "does not describe"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent := t.TempDir()
			dir := filepath.Join(parent, "stage")
			must(t, os.Mkdir(dir, 0o755))
			err := Unpack(bytes.NewReader(archiveOf(t, tc.headers...)), dir)
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want the refusal %q", err, tc.want)
			}
			for _, where := range []string{parent, outside} {
				if left, _ := os.ReadDir(where); len(left) > 1 || where == outside && len(left) > 0 {
					t.Errorf("%s holds %v", where, left)
				}
			}
		})
	}
	whole := archiveOf(t, tree, file("tree/f"))
	if err := Unpack(bytes.NewReader(whole[:len(whole)-2000]), t.TempDir()); !errors.Is(err, ErrRefused) {
		t.Errorf("an archive without its end: %v", err)
	}
}

// Whatever is in an archive, nothing appears beside the folder, and no device in
// it.
func FuzzUnpack(f *testing.F) {
	t := &testing.T{}
	f.Add(archiveOf(t, tar.Header{Name: "tree/", Typeflag: tar.TypeDir, Mode: 0o755}, tar.Header{Name: "tree/l", Linkname: "../..", Typeflag: tar.TypeSymlink}, tar.Header{Name: "tree/l/f", Typeflag: tar.TypeReg}))
	f.Add(archiveOf(t, tar.Header{Name: "f", Typeflag: tar.TypeReg, Size: 3, PAXRecords: map[string]string{sparseRecord: "9 1:3"}}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "stage")
		must(t, os.Mkdir(dir, 0o755))
		_ = Unpack(bytes.NewReader(archive), dir)
		if left, err := os.ReadDir(parent); err != nil || len(left) != 1 {
			t.Errorf("left beside it: %v, %v", left, err)
		}
		_ = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
			if err == nil && d.Type()&^(fs.ModeDir|fs.ModeSymlink) != 0 {
				t.Errorf("%s is a %v", file, d.Type())
			}
			return nil
		})
	})
}

// What is read as a map of holes is written the same.
func FuzzSparse(f *testing.F) {
	f.Add("100 0:10 20:5", int64(15))
	f.Add("0", int64(0))
	f.Fuzz(func(t *testing.T, text string, data int64) {
		size, parts, err := parseSparse(text, data)
		if err != nil {
			return
		}
		again, more, err := parseSparse(sparseMap(size, parts), data)
		if err != nil || again != size || !slices.Equal(more, parts) {
			t.Errorf("%q became %d %v, then %d %v (%v)", text, size, parts, again, more, err)
		}
	})
}
