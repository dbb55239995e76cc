// Package writer is the half of an installation that runs on the machine: it takes
// a disk image from its standard input, writes it over a disk, reads it back, and
// restarts the machine. It is part of ingot-agent, which is static and runs from
// memory.
package writer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Version is that of the conversation. Both halves come from one build.
const Version = 1

// Kinds of messages to the machine, in the order in which they come: a job; when the
// machine has said [Ready], patches, data and end; when it has said [Received], go;
// when it has said [Done], seen.
const (
	KindJob   byte = 'J' // a [Job] as JSON
	KindPatch byte = 'P' // a [Patch] as JSON, for after the read-back
	KindData  byte = 'D' // a piece of the packed image
	KindEnd   byte = 'E' // the packed image is whole
	KindGo    byte = 'G' // all is there: go on
	KindSeen  byte = 'S' // the result was seen
)

// MaxMessage is the most that a message may have, in bytes: a patch of the largest
// instance config, 4 MiB, with JSON's overhead.
const MaxMessage = 8 << 20

// Job says what to do.
type Job struct {
	Version int    `json:"version"`
	Disk    string `json:"disk"` // a device
	// DiskBytes is the disk's size as it was when somebody agreed; 0 is any.
	DiskBytes int64 `json:"disk_bytes"`
	// Staged is the way for a disk that the running system is on: the image is
	// received completely before anything is written.
	Staged bool `json:"staged"`
	// Ending is what becomes of the machine when all is done.
	Ending Ending `json:"ending"`

	ImageBytes int64  `json:"image_bytes"` // of the raw image
	SHA256     string `json:"sha256"`      // of the raw image, in hex
	// PackedBytes is the length of the packed image.
	PackedBytes int64 `json:"packed_bytes"`
}

// Ending is an end of a job.
type Ending string

// The endings. A machine whose own disk was overwritten cannot be left running.
const (
	Stay    Ending = "stay"
	Restart Ending = "restart"
	Off     Ending = "off"
)

// Patch is a change to the disk that is made when the image was read back: the part
// of an installation that is not in the image.
type Patch struct {
	Offset int64  `json:"offset"`
	Data   []byte `json:"data"`
}

// Step is what the machine is at.
type Step string

// The steps, in their order.
const (
	Clearing Step = "clearing" // what the image does not cover, with Done and Of in bytes
	Ready    Step = "ready"    // for the image
	Received Step = "received" // the image; checked when it was staged
	Quiet    Step = "quiet"    // the old system is stopped and its file systems are read-only
	Writing  Step = "writing"  // with Done and Of in bytes of the image
	Reading  Step = "reading"  // the same
	ReadBack Step = "read-back"
	Done     Step = "done"
	Failed   Step = "failed"
)

// Event is what the machine says, one line of JSON each.
type Event struct {
	Step   Step   `json:"step"`
	Done   int64  `json:"done,omitempty"`
	Of     int64  `json:"of,omitempty"`
	SHA256 string `json:"sha256,omitempty"` // of what was read back
	// Error is why it failed, and Touched whether something was written.
	Error   string `json:"error,omitempty"`
	Touched bool   `json:"touched,omitempty"`
}

// Send writes a message.
func Send(w io.Writer, kind byte, payload []byte) error {
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(payload)))
	_, err := w.Write(append(head, payload...))
	return err
}

// SendJSON writes a message of JSON.
func SendJSON(w io.Writer, kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return Send(w, kind, b)
}

// receive reads a message. The payload is in buf when it fits.
func receive(r io.Reader, buf []byte) (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, lost(err)
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > MaxMessage {
		return 0, nil, fmt.Errorf("a message of %d bytes", n)
	}
	if int(n) > len(buf) {
		buf = make([]byte, n)
	}
	_, err = io.ReadFull(r, buf[:n])
	return head[0], buf[:n], lost(err)
}

// lost says what an end in the middle means.
func lost(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errLost
	}
	return err
}

var errLost = errors.New("the connection ended too early")
