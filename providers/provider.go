// Package providers is what Ingot asks of those who run servers, and what it does
// the same way with all of them: the journal of what was created, the difference of
// two firewalls, patience with an API.
//
// Each provider is a package below this one, on top of its own SDK.
package providers

import (
	"context"
	"errors"
	"io"
	"net/netip"
)

// Provider keeps images and runs servers. Every method may be called again after a
// failure: what is there already is found by its labels and not made twice.
//
// Errors about the account or the request are marked fault.Input, those of the
// service fault.Provider. No error holds a secret.
type Provider interface {
	// Name is the provider's, as on the command line.
	Name() string
	// Account says whose resources these are, for the journal: a project, a
	// contract, a URI. It is no secret.
	Account() string
	// Upload stores an image, or finds one that has the same labels.
	Upload(ctx context.Context, u Upload) (Image, error)
	// Images are those that Ingot made here.
	Images(ctx context.Context) ([]Image, error)
	// Deploy makes a server of an image, behind a firewall that is in force before
	// the server's first packet, and starts it.
	Deploy(ctx context.Context, m Machine) (Server, error)
	// Servers are those that Ingot made here.
	Servers(ctx context.Context) ([]Server, error)
	// Wall is the provider's firewall before a server.
	Wall(ctx context.Context, server Server) (Wall, error)
	// Find returns what carries the label [LabelID] with this value, in the order in
	// which it can be deleted.
	Find(ctx context.Context, id string) ([]Resource, error)
	// Delete removes one thing and waits until it is gone. What is not there is no
	// error.
	Delete(ctx context.Context, r Resource) error
}

// Mover is a provider whose disks and addresses can change from one server to
// another.
type Mover interface {
	// StateSize is how large the volume with a server's state is, in GiB; 0 says that
	// its state is on the disk it boots from and cannot be moved.
	StateSize(ctx context.Context, server Server) (int, error)
	// MoveVolume gives the state volume of one server to another, and that one's to the
	// first. Both are switched off meanwhile; the one that gets it runs afterwards. An
	// interrupted move goes on when it is run again, and the one the other way undoes it.
	MoveVolume(ctx context.Context, from, to Server) error
	// MoveAddress gives the public address of one server to another. It starts none whose
	// state another one has.
	MoveAddress(ctx context.Context, from, to Server) error
	// Taken reports whether a server has taken another's state or address over, or has
	// begun to: what it has not taken must not be moved back.
	Taken(ctx context.Context, server Server) (state, address bool, err error)
}

// Forgetter is a provider that is left with a machine's instance config, in which there
// are secrets, when the machine does not need it any more: it keeps its own.
type Forgetter interface {
	// DropConfig removes it. It is called when the machine is proven.
	DropConfig(ctx context.Context, server Server) error
}

// Upload is an image on its way to a provider.
type Upload struct {
	Name   string
	Image  io.ReaderAt // the raw disk
	Bytes  int64
	SHA256 string // of the raw disk, in hex
	Labels map[string]string
	// Progress is told how many bytes of the disk are done; nil is nobody.
	Progress func(done int64)
	// Journal records what is created for it.
	Journal *Entry
}

// Image is one that a provider keeps.
type Image struct {
	ID     string            `json:"id"`
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
}

// Machine is a server that shall be.
type Machine struct {
	Name     string
	Image    Image
	UserData []byte // the instance config
	Rules    []Rule
	Labels   map[string]string
	Location string // the provider's name of a place, empty for its default
	Size     string // the provider's name of a size, empty for its default
	Journal  *Entry
}

// Server is one that a provider runs.
type Server struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	State     string            `json:"state"` // the provider's word
	Addresses []netip.Addr      `json:"addresses"`
	Labels    map[string]string `json:"labels"`
}

// Resource is anything that a provider has made for Ingot.
type Resource struct {
	Kind string `json:"kind"` // the provider's word: "server", "snapshot", "volume"
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Labels of what Ingot makes. Values are at most 63 letters, digits, dots, dashes
// and underscores, which all providers take.
const (
	// LabelID is the number of the journal's entry that something was made under.
	LabelID = "ingot-id"
	// LabelImage, LabelConfig and LabelVerdict are the first 40 digits of the
	// SHA-256 of the raw image, of ingot.yaml and of the verdict's envelope.
	LabelImage   = "ingot-image"
	LabelConfig  = "ingot-config"
	LabelVerdict = "ingot-verdict"
	// LabelUnproven is why an image without a verdict was uploaded.
	LabelUnproven = "ingot-unproven"
	// LabelServer is the name that a server was deployed under.
	LabelServer = "ingot-server"
	// LabelReplaces is the name of the server that one was made to take over from.
	LabelReplaces = "ingot-replaces"
)

// LabelDigest cuts a digest in hex to what a label may have.
func LabelDigest(hex string) string { return hex[:min(len(hex), 40)] }

// MaxUserData is how large an instance config may be, in bytes: what the provider
// with the least takes (Hetzner: 32 KiB).
const MaxUserData = 32 << 10

// ErrUnsupported is for what a provider has no way to do.
var ErrUnsupported = errors.New("this provider cannot do that")
