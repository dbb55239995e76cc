package install

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"ingot/fault"
)

// Disk is a whole disk of a machine.
type Disk struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	Model  string `json:"model,omitempty"`
	Serial string `json:"serial,omitempty"`
	// Mounts are where it and what stands on it are mounted; swap is "[SWAP]".
	Mounts []string `json:"mounts,omitempty"`
	// Root is whether the running system is on it.
	Root bool `json:"root"`
}

// String is a line for somebody who has to choose.
func (d Disk) String() string {
	s := fmt.Sprintf("%s, %.1f GiB", d.Path, float64(d.Bytes)/(1<<30))
	for _, more := range []string{d.Model, d.Serial} {
		if more != "" {
			s += ", " + more
		}
	}
	switch {
	case d.Root:
		s += ", the running system"
	case len(d.Mounts) > 0:
		s += ", mounted at " + strings.Join(d.Mounts, " and ")
	}
	return s
}

// Disks are those of a machine.
func Disks(ctx context.Context, client *ssh.Client) ([]Disk, error) {
	r, err := newRemote(ctx, client)
	if err != nil {
		return nil, err
	}
	found, err := r.devices(ctx)
	if err != nil {
		return nil, err
	}
	return disks(found, diskType), nil
}

// diskType is lsblk's word for a whole disk.
const diskType = "disk"

// device is one of lsblk's.
type device struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Size     number   `json:"size"`
	Model    string   `json:"model"`
	Serial   string   `json:"serial"`
	Mounts   []string `json:"mountpoints"`
	Mount    string   `json:"mountpoint"` // of lsblk before 2.37
	Children []device `json:"children"`
}

// number is one that old versions of lsblk put between quotes.
type number int64

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 64)
	*n = number(v)
	return err
}

// devices asks lsblk. Root sees the serial numbers.
func (r *remote) devices(ctx context.Context) ([]device, error) {
	const ask = "lsblk --json --bytes --paths --output NAME,TYPE,SIZE,MODEL,SERIAL,"
	out, err := r.run(ctx, r.sudo+ask+"MOUNTPOINTS")
	if err != nil && ctx.Err() == nil {
		out, err = r.run(ctx, r.sudo+ask+"MOUNTPOINT") // before 2.37
	}
	if err != nil {
		return nil, fmt.Errorf("list the machine's disks: %w", err)
	}
	var list struct {
		Devices []device `json:"blockdevices"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fault.Provider(fmt.Errorf("list the machine's disks: lsblk says what cannot be read: %w", err))
	}
	return list.Devices, nil
}

// disks are those of a type that hold something.
func disks(devices []device, kind string) []Disk {
	var list []Disk
	for _, d := range devices {
		if d.Type != kind || d.Size <= 0 {
			continue
		}
		mounts := d.mounts()
		slices.Sort(mounts)
		mounts = slices.Compact(mounts)
		list = append(list, Disk{
			Path: d.Name, Bytes: int64(d.Size), Model: strings.TrimSpace(d.Model), Serial: strings.TrimSpace(d.Serial),
			Mounts: mounts, Root: slices.Contains(mounts, "/"),
		})
	}
	slices.SortFunc(list, func(a, b Disk) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

// mounts are those of a device and of all on it.
func (d device) mounts() []string {
	var list []string
	for _, m := range append(d.Mounts, d.Mount) {
		if m != "" {
			list = append(list, m)
		}
	}
	for _, c := range d.Children {
		list = append(list, c.mounts()...)
	}
	return list
}

// find is a device by its name, wherever it stands.
func find(devices []device, name string) (device, bool) {
	for _, d := range devices {
		if d.Name == name {
			return d, true
		}
		if c, ok := find(d.Children, name); ok {
			return c, true
		}
	}
	return device{}, false
}

// choose is the disk of a name that is large enough. The name may be a link, such as
// those in /dev/disk/by-id.
func (r *remote) choose(ctx context.Context, name, kind string, minimum int64) (Disk, error) {
	devices, err := r.devices(ctx)
	if err != nil {
		return Disk{}, err
	}
	list := disks(devices, kind)
	if name == "" {
		return Disk{}, wrongDisk(list, "name the disk to be overwritten")
	}
	if path.Clean(name) != name || !strings.HasPrefix(name, "/dev/") || strings.ContainsFunc(name, notInNames) {
		return Disk{}, wrongDisk(list, "%q is no device", name)
	}
	device := name
	if out, err := r.run(ctx, "readlink -f -- "+quote(name)); err == nil {
		device = strings.TrimSpace(out)
	}
	n := slices.IndexFunc(list, func(d Disk) bool { return d.Path == device })
	if n < 0 {
		if d, ok := find(devices, device); ok {
			return Disk{}, wrongDisk(list, "%s is no whole disk but of the type %q", name, d.Type)
		}
		return Disk{}, wrongDisk(list, "the machine has no disk %s", name)
	}
	if d := list[n]; d.Bytes < minimum {
		return Disk{}, wrongDisk(list, "%s has %d MiB and at least %d MiB are needed", name, d.Bytes>>20, (minimum+1<<20-1)>>20)
	}
	return list[n], nil
}

// notInNames are what no name of a device has.
func notInNames(r rune) bool { return r <= ' ' || r > '~' }

// wrongDisk says what is wrong and what is there.
func wrongDisk(list []Disk, format string, a ...any) error {
	there := "it has none"
	if len(list) > 0 {
		var lines []string
		for _, d := range list {
			lines = append(lines, d.String())
		}
		there = "its disks are " + strings.Join(lines, "; ")
	}
	return fault.Input(fmt.Errorf(format+": "+there, a...))
}
