package vm

import "encoding/json"

// A blockNode is one node of QEMU's block graph, as -blockdev takes it in
// JSON: the only form in which no character of a path is special.
type blockNode struct {
	Driver   string     `json:"driver"`
	NodeName string     `json:"node-name,omitempty"`
	ReadOnly bool       `json:"read-only,omitempty"`
	Discard  string     `json:"discard,omitempty"`
	Cache    *cacheMode `json:"cache,omitempty"`
	Filename string     `json:"filename,omitempty"`
	File     *blockNode `json:"file,omitempty"`
	Backing  *blockNode `json:"backing,omitempty"`
}

type cacheMode struct {
	NoFlush bool `json:"no-flush"`
}

// writableDisk is a disk the guest writes to. A guest's flush goes to the
// host's page cache and no further (no-flush): that survives the end of QEMU,
// which is the only power cut there is here, and costs no fsync.
func writableDisk(name, path string, format Format) blockNode {
	return blockNode{
		Driver:   string(format),
		NodeName: name,
		Discard:  "unmap",
		Cache:    &cacheMode{NoFlush: true},
		File:     &blockNode{Driver: "file", Filename: path, Discard: "unmap", Cache: &cacheMode{NoFlush: true}},
	}
}

// overlayDisk is a qcow2 overlay whose base is named here and not read from
// the overlay's header, so that the image under test is what is booted.
func overlayDisk(name, overlay, base string, format Format) blockNode {
	n := writableDisk(name, overlay, QCOW2)
	n.Backing = readOnlyDisk("", base, format)
	return n
}

func readOnlyDisk(name, path string, format Format) *blockNode {
	return &blockNode{
		Driver:   string(format),
		NodeName: name,
		ReadOnly: true,
		File:     &blockNode{Driver: "file", Filename: path, ReadOnly: true},
	}
}

func (n blockNode) arg() string {
	// Strings and booleans only: this cannot fail.
	data, _ := json.Marshal(n)
	return string(data)
}
