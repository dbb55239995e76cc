package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/backend"

	"ingot/fault"
	"ingot/providers/install/writer"
)

// The EFI system partition of an image, docs/image.md.
const (
	espIndex     = 2
	espLabel     = "INGOT-ESP"
	instanceFile = "/instance.ign"
)

// maxInstance is the largest instance config that a machine takes, in bytes
// (docs/image.md).
const maxInstance = 4 << 20

// instancePatches are the changes to an image that put an instance config onto its
// EFI system partition. The config holds secrets: it is nowhere but in memory.
func instancePatches(image Image, config []byte) ([]writer.Patch, error) {
	if len(config) == 0 || len(config) > maxInstance {
		return nil, fault.Input(fmt.Errorf("an instance config of %d bytes: give the instance.ign of \"ingot build\"", len(config)))
	}
	o := &overlay{below: image.Data, size: image.Bytes, pages: map[int64][]byte{}}
	if err := putInstance(o, config); err != nil {
		return nil, fault.Input(fmt.Errorf("put the instance config onto the image's EFI system partition: %w", err))
	}
	return o.patches()
}

func putInstance(o *overlay, config []byte) error {
	d, err := diskfs.OpenBackend(o, diskfs.WithSectorSize(diskfs.SectorSize512))
	if err != nil {
		return err
	}
	esp, err := d.GetFilesystem(espIndex)
	if err != nil {
		return err
	}
	if label := strings.TrimSpace(esp.Label()); label != espLabel {
		return fmt.Errorf("partition %d is labelled %q and not %s: this is no image of Ingot's", espIndex, label, espLabel)
	}
	f, err := esp.OpenFile(instanceFile, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	if n, _ := f.Read(make([]byte, 1)); n > 0 {
		return errors.New("the image has one already")
	}
	if _, err := f.Write(config); err != nil { // one write: go-diskfs walks the chain for each
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return checkInstance(o, config)
}

// checkInstance reads the config as the machine will.
func checkInstance(o *overlay, config []byte) error {
	d, err := diskfs.OpenBackend(o, diskfs.WithSectorSize(diskfs.SectorSize512))
	if err != nil {
		return err
	}
	esp, err := d.GetFilesystem(espIndex)
	if err != nil {
		return err
	}
	f, err := esp.OpenFile(instanceFile, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	// One read: go-diskfs 1.9.4 reads past the end when it goes on within a cluster.
	got := make([]byte, len(config)+1)
	n, err := f.Read(got)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !bytes.Equal(got[:n], config) {
		return errors.New("it reads back as something else")
	}
	return nil
}

// pageBytes is what an overlay keeps whole: a sector of most disks.
const pageBytes = 4096

// overlay is an image that can be written to without being changed.
type overlay struct {
	below io.ReaderAt
	size  int64
	at    int64
	pages map[int64][]byte // by their numbers
}

var _ backend.Storage = (*overlay)(nil)

// ReadAt implements io.ReaderAt.
func (o *overlay) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 || offset >= o.size {
		return 0, io.EOF
	}
	n, err := o.below.ReadAt(p[:min(int64(len(p)), o.size-offset)], offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	for number := offset / pageBytes; number*pageBytes < offset+int64(n); number++ {
		page, ok := o.pages[number]
		if !ok {
			continue
		}
		start := number * pageBytes
		if start >= offset {
			copy(p[start-offset:n], page)
		} else {
			copy(p[:n], page[offset-start:])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (o *overlay) WriteAt(p []byte, offset int64) (int, error) {
	if offset < 0 || offset+int64(len(p)) > o.size {
		return 0, errors.New("beyond the end of the image")
	}
	for done := 0; done < len(p); {
		number, within := (offset+int64(done))/pageBytes, (offset+int64(done))%pageBytes
		page, err := o.page(number)
		if err != nil {
			return done, err
		}
		done += copy(page[within:], p[done:])
	}
	return len(p), nil
}

// page is one that can be changed.
func (o *overlay) page(number int64) ([]byte, error) {
	if page, ok := o.pages[number]; ok {
		return page, nil
	}
	page, err := o.original(number)
	o.pages[number] = page
	return page, err
}

func (o *overlay) original(number int64) ([]byte, error) {
	start := number * pageBytes
	page := make([]byte, min(pageBytes, o.size-start))
	_, err := io.ReadFull(io.NewSectionReader(o.below, start, int64(len(page))), page)
	return page, err
}

// patches are what has changed, in order.
func (o *overlay) patches() ([]writer.Patch, error) {
	var list []writer.Patch
	for _, number := range slices.Sorted(maps.Keys(o.pages)) {
		was, err := o.original(number)
		if err != nil {
			return nil, err
		}
		page, offset := o.pages[number], number*pageBytes
		if bytes.Equal(was, page) {
			continue
		}
		if n := len(list); n > 0 && list[n-1].Offset+int64(len(list[n-1].Data)) == offset {
			list[n-1].Data = append(list[n-1].Data, page...)
		} else {
			list = append(list, writer.Patch{Offset: offset, Data: bytes.Clone(page)})
		}
	}
	return list, nil
}

// The rest of what go-diskfs wants of a disk's file.

func (o *overlay) Read(p []byte) (int, error) {
	n, err := o.ReadAt(p, o.at)
	o.at += int64(n)
	return n, err
}

func (o *overlay) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.at
	case io.SeekEnd:
		offset += o.size
	}
	o.at = offset
	return offset, nil
}

func (o *overlay) Close() error                            { return nil }
func (o *overlay) Path() string                            { return "" }
func (o *overlay) Sys() (*os.File, error)                  { return nil, backend.ErrNotSuitable }
func (o *overlay) Writable() (backend.WritableFile, error) { return o, nil }
func (o *overlay) Stat() (fs.FileInfo, error)              { return overlayInfo{o.size}, nil }

// overlayInfo says that an overlay is a file.
type overlayInfo struct{ size int64 }

func (i overlayInfo) Name() string       { return "image.raw" }
func (i overlayInfo) Size() int64        { return i.size }
func (i overlayInfo) Mode() fs.FileMode  { return 0o600 }
func (i overlayInfo) ModTime() time.Time { return time.Time{} }
func (i overlayInfo) IsDir() bool        { return false }
func (i overlayInfo) Sys() any           { return nil }
