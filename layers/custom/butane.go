package custom

import (
	"fmt"
	"strconv"
	"strings"

	"ingot/config/document"
)

// The types follow Butane's specification (fcos 1.6) key for key; what is
// left out cannot be in a sealed image.

type butane struct {
	Variant         string          `yaml:"variant"`
	Version         string          `yaml:"version"`
	Passwd          passwd          `yaml:"passwd"`
	Storage         storage         `yaml:"storage"`
	Systemd         systemd         `yaml:"systemd"`
	KernelArguments kernelArguments `yaml:"kernel_arguments"`
}

func (butane) KeyAdvice(key string) (message, advice string) {
	switch key {
	case "ignition", "boot_device", "grub":
		return unsupported(key), "the image's own boot belongs to Ingot: remove it"
	}
	return "", ""
}

type storage struct {
	Files       []file      `yaml:"files"`
	Directories []directory `yaml:"directories"`
	Links       []link      `yaml:"links"`
}

func (storage) KeyAdvice(key string) (message, advice string) {
	switch key {
	case "disks", "raid", "filesystems", "luks":
		return unsupported(key), "the image's partitions belong to Ingot: remove it"
	case "trees":
		return unsupported(key), "name each file below storage.files"
	}
	return "", ""
}

type file struct {
	Path     string    `yaml:"path" ingot:"required"`
	Mode     mode      `yaml:"mode"`
	User     owner     `yaml:"user"`
	Group    owner     `yaml:"group"`
	Contents *contents `yaml:"contents" ingot:"required"`
}

func (file) KeyAdvice(key string) (message, advice string) {
	switch key {
	case "overwrite":
		return unsupported(key), "remove it: a layer's file always replaces a package's"
	case "append":
		return unsupported(key), "give the whole file, or a file of its own in the program's .d folder"
	}
	return "", ""
}

type contents struct {
	Inline *string `yaml:"inline"`
	Local  *string `yaml:"local"`
}

func (contents) KeyAdvice(key string) (message, advice string) {
	switch key {
	case "source", "compression", "verification":
		return unsupported(key), "images are built without the network: put the file below files/ and name it with local"
	}
	return "", ""
}

type directory struct {
	Path  string `yaml:"path" ingot:"required"`
	Mode  mode   `yaml:"mode"`
	User  owner  `yaml:"user"`
	Group owner  `yaml:"group"`
}

type link struct {
	Path   string `yaml:"path" ingot:"required"`
	Target string `yaml:"target" ingot:"required"`
}

func (link) KeyAdvice(key string) (message, advice string) {
	if key == "hard" {
		return unsupported(key), "remove it: links are symbolic"
	}
	return "", ""
}

type owner struct {
	Name string `yaml:"name" ingot:"required"`
}

func (owner) KeyAdvice(key string) (message, advice string) {
	if key == "id" {
		return unsupported(key), "give the account's name: numbers are chosen by the lock"
	}
	return "", ""
}

type passwd struct {
	Users  []user  `yaml:"users"`
	Groups []group `yaml:"groups"`
}

type user struct {
	Name         string   `yaml:"name" ingot:"required"`
	UID          int      `yaml:"uid"`
	PrimaryGroup string   `yaml:"primary_group"`
	Groups       []string `yaml:"groups"`
	HomeDir      string   `yaml:"home_dir"`
	Shell        string   `yaml:"shell"`
	Gecos        string   `yaml:"gecos"`
	System       bool     `yaml:"system"`
}

func (user) KeyAdvice(key string) (message, advice string) {
	switch key {
	case "password_hash":
		return unsupported(key), "accounts have no passwords: remove it"
	case "ssh_authorized_keys", "ssh_authorized_keys_local":
		return unsupported(key), "only the admin logs in: see admin.keys in ingot.yaml"
	}
	return "", ""
}

type group struct {
	Name   string `yaml:"name" ingot:"required"`
	GID    int    `yaml:"gid"`
	System bool   `yaml:"system"`
}

type systemd struct {
	Units []unit `yaml:"units"`
}

type unit struct {
	Name          string   `yaml:"name" ingot:"required"`
	Enabled       *bool    `yaml:"enabled"`
	Mask          bool     `yaml:"mask"`
	Contents      *string  `yaml:"contents"`
	ContentsLocal *string  `yaml:"contents_local"`
	Dropins       []dropin `yaml:"dropins"`
}

type dropin struct {
	Name          string  `yaml:"name" ingot:"required"`
	Contents      *string `yaml:"contents"`
	ContentsLocal *string `yaml:"contents_local"`
}

type kernelArguments struct {
	ShouldExist []string `yaml:"should_exist"`
}

func (kernelArguments) KeyAdvice(key string) (message, advice string) {
	if key == "should_not_exist" {
		return unsupported(key), "the image's own kernel arguments belong to Ingot: remove it"
	}
	return "", ""
}

func unsupported(key string) string {
	return fmt.Sprintf("%s is not supported in a sealed image", key)
}

// mode is a file mode. It is octal, and must look octal: 644 without the zero
// is a decimal number in YAML and another mode altogether.
type mode int

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *mode) UnmarshalText(text []byte) error {
	digits, octal := strings.CutPrefix(strings.Replace(string(text), "0o", "0", 1), "0")
	value, err := strconv.ParseUint(digits, 8, 32)
	if !octal || err != nil || value == 0 || value > 0o7777 {
		return document.ValueError{
			Message: fmt.Sprintf("%q is not an octal mode", text), Advice: "write it with a leading zero, such as 0644 or 0755",
		}
	}
	*m = mode(value)
	return nil
}

func (m mode) or(other int) int {
	if m == 0 {
		return other
	}
	return int(m)
}
