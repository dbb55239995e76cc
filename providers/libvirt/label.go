package libvirt

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"

	"ingot/fault"
	"ingot/providers"
)

// ours begins the names of all volumes that Ingot makes; the group is the value of
// providers.LabelID: 20 letters and digits, as the journal makes them.
var ours = regexp.MustCompile(`^ingot-([a-z0-9]{20})-(?:image-[0-9a-f]{40}\.(?:raw|json)|[a-z0-9][a-z0-9.-]*-(?:disk\.raw|config\.iso|state\.raw))$`)

// reserved are the names of our DHCP reservations.
var reserved = regexp.MustCompile(`^ingot-([a-z0-9]{20})-[0-9a-f]{6}$`)

var (
	idForm     = regexp.MustCompile(`^[a-z0-9]{20}$`)
	nameForm   = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$`)
	digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// volumeID is the label in a volume's name, empty when it is not one of ours.
func volumeID(name string) string {
	if m := ours.FindStringSubmatch(name); m != nil {
		return m[1]
	}
	return ""
}

func imageVolume(id, digest string) string {
	return fmt.Sprintf("ingot-%s-image-%s.raw", id, providers.LabelDigest(digest))
}

// serverVolume is the name of one of a server's: "disk.raw", "config.iso" or
// "state.raw".
func serverVolume(id, server, what string) string {
	return fmt.Sprintf("ingot-%s-%s-%s", id, server, what)
}

// macOf is the address of a server's network card. It follows from the labels, so
// that a repeated deployment finds what the first one has made.
func macOf(id, server string) string {
	sum := sha256.Sum256([]byte(id + "/" + server))
	return fmt.Sprintf("52:54:00:%02x:%02x:%02x", sum[0], sum[1], sum[2]) // 52:54:00 is QEMU's
}

func reservationName(id, server string) string {
	sum := sha256.Sum256([]byte(id + "/" + server))
	return fmt.Sprintf("ingot-%s-%x", id, sum[:3])
}

// labelID takes the label that everything must carry.
func labelID(labels map[string]string) (string, error) {
	id := labels[providers.LabelID]
	if !idForm.MatchString(id) {
		return "", fault.Input(errors.New("the label " + providers.LabelID + " must be the number of an entry of the journal, 20 letters and digits"))
	}
	return id, nil
}
