package format

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// convert has qemu-img write the image. The paths are absolute: it takes what
// comes before a colon in a relative one for a protocol.
func convert(ctx context.Context, qemuImg QEMUImg, from, to string, options ...string) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	// One request at a time, so that the order in the file is that of the disk.
	return qemuImg(ctx, append(append([]string{"convert", "-m", "1"}, options...), from, to)...)
}

// writeQCOW2 compresses clusters with zlib. zstd would be an incompatible feature
// of the file, which QEMU knows since 5.1 and many others do not, 7-Zip
// among them; what a provider's import is made of nobody knows. It would gain
// little: most of the disk is compressed already. Nothing in the file is random.
func writeQCOW2(ctx context.Context, qemuImg QEMUImg, img Image, file string) error {
	return convert(ctx, qemuImg, img.File, file, "-f", "raw", "-O", "qcow2", "-c", "-o", "compat=1.1,compression_type=zlib,cluster_size=65536")
}

// writeVMDK writes the subformat that ESXi, AWS and Glance import. The name of
// the file is in it, but not that of its folder; its content id is random.
func writeVMDK(ctx context.Context, qemuImg QEMUImg, img Image, file string) error {
	if err := convert(ctx, qemuImg, img.File, file, "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized,adapter_type=lsilogic"); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(fixVMDK(f, img.SHA256), f.Close())
}

const (
	vmdkSector = 512
	// vmdkDescriptorMax is 20 sectors as qemu-img writes it, with room.
	vmdkDescriptorMax = 1 << 20
)

// fixVMDK gives the file a content id that depends on the image. The header is
// the SparseExtentHeader of VMware's Virtual Disk Format 1.1, which says where the
// descriptor is, a text with zeros behind it.
func fixVMDK(f *os.File, sum string) error {
	le := binary.LittleEndian
	header := make([]byte, vmdkSector)
	if _, err := f.ReadAt(header, 0); err != nil {
		return err
	}
	start, length := le.Uint64(header[28:]), le.Uint64(header[36:])
	if string(header[:4]) != "KDMV" || start == 0 || start > vmdkDescriptorMax || length == 0 || length > vmdkDescriptorMax/vmdkSector {
		return errors.New("this is not the VMDK that was expected from qemu-img")
	}
	room := make([]byte, length*vmdkSector)
	if _, err := f.ReadAt(room, int64(start*vmdkSector)); err != nil {
		return err
	}
	text, err := withContentID(string(bytes.TrimRight(room, "\x00")), sum[:8])
	if err != nil {
		return err
	}
	if len(text) > len(room) {
		return fmt.Errorf("the descriptor has no room for a content id of 8 digits")
	}
	clear(room)
	copy(room, text)
	_, err = f.WriteAt(room, int64(start*vmdkSector))
	return err
}

// withContentID replaces the one line of the descriptor that is random. qemu-img
// writes it without leading zeros, so that its length varies.
func withContentID(descriptor, id string) (string, error) {
	if id == "ffffffff" { // means "no parent"
		id = "fffffffe"
	}
	lines := strings.SplitAfter(descriptor, "\n")
	found := 0
	for i, line := range lines {
		if strings.HasPrefix(line, "CID=") {
			lines[i] = "CID=" + id + "\n"
			found++
		}
	}
	if found != 1 {
		return "", fmt.Errorf("the descriptor has %d content ids", found)
	}
	return strings.Join(lines, ""), nil
}
