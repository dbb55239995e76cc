package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/config"
	"ingot/layers/wireguard"
)

// Public keys that nothing uses.
const (
	laptopKey = "c8rjWkBU97aluuFEv5nHSQpHqLiXjG6ooLm7EOC0pAE="
	phoneKey  = "G9ZfTu5d0ico/s7MklvkkeJVqfS4NgEdkVELx1+w6yw="
)

var phone = wireguard.Peer{Name: "phone", Address: "10.8.0.3", PublicKey: phoneKey}

const laptopItem = "{name: laptop, address: 10.8.0.2, publicKey: " + laptopKey + "}"
const phoneItem = "{name: phone, address: 10.8.0.3, publicKey: " + phoneKey + "}"

// peersText is a whole file with this below "layers:".
func peersText(layers string) string {
	return `# a comment
name: openclaw # another
admin:
  user: clawadmin
  keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP3n5fysqTSD2F59GBq32PWPdQRwN1IviHFzfiRUHI5A laptop]
` + layers
}

// Every way to write the list, before and after a peer is added. Removing it
// again must give the first text.
func TestEditPeers(t *testing.T) {
	t.Parallel()
	const before = "layers:\n  ssh: {}\n  nftables: {}\n"
	for name, c := range map[string]struct {
		text, want string
		oneWay     bool // removing leaves another text, or nobody
	}{
		"items in braces": {
			text: before + "  wireguard:\n    peers: # who\n      - " + laptopItem + " # mine\n      # the end\n",
			want: before + "  wireguard:\n    peers: # who\n      - " + laptopItem + " # mine\n      - " + phoneItem + "\n      # the end\n",
		},
		"items in lines": {
			text: before + "  wireguard:\n    peers:\n    - name: laptop # mine\n      address: 10.8.0.2\n\n      publicKey: " + laptopKey + "\n\n# after\n",
			want: before + "  wireguard:\n    peers:\n    - name: laptop # mine\n      address: 10.8.0.2\n\n      publicKey: " + laptopKey +
				"\n    - name: phone\n      address: 10.8.0.3\n      publicKey: " + phoneKey + "\n\n# after\n",
		},
		"no end of line": {
			text:   before + "  wireguard:\n    peers:\n      - " + laptopItem,
			want:   before + "  wireguard:\n    peers:\n      - " + laptopItem + "\n      - " + phoneItem + "\n",
			oneWay: true,
		},
		"keys after the list": {
			text: before + "  wireguard:\n    peers:\n      - " + laptopItem + "\n    mtu: 1400\n  sysctl: {}\n",
			want: before + "  wireguard:\n    peers:\n      - " + laptopItem + "\n      - " + phoneItem + "\n    mtu: 1400\n  sysctl: {}\n",
		},
		"in brackets": {
			text: before + "  wireguard: {peers: [" + laptopItem + "]} # é\n",
			want: before + "  wireguard: {peers: [" + laptopItem + ", " + phoneItem + "]} # é\n",
		},
		"in brackets, in lines": {
			text:   before + "  wireguard:\n    peers: [\n      " + laptopItem + ",\n    ]\n",
			want:   before + "  wireguard:\n    peers: [\n      " + laptopItem + ", " + phoneItem + "\n    ]\n",
			oneWay: true,
		},
		"empty brackets": {
			text: before + "  wireguard:\n    peers: []\n", want: before + "  wireguard:\n    peers: [" + phoneItem + "]\n", oneWay: true,
		},
		"nothing": {
			text: before + "  wireguard:\n    peers:\n    mtu: 1400\n", want: before + "  wireguard:\n    peers:\n      - " + phoneItem + "\n    mtu: 1400\n", oneWay: true,
		},
		"no list": {
			text: before + "  wireguard:\n    mtu: 1400\n", want: before + "  wireguard:\n    peers:\n      - " + phoneItem + "\n    mtu: 1400\n", oneWay: true,
		},
		"no options": {
			text: before + "  wireguard:\n  sysctl: {}\n", want: before + "  wireguard:\n    peers:\n      - " + phoneItem + "\n  sysctl: {}\n", oneWay: true,
		},
		"layers as a list": {
			text: "layers:\n  - ssh\n  - nftables\n  - wireguard:\n      peers:\n        - " + laptopItem + "\n",
			want: "layers:\n  - ssh\n  - nftables\n  - wireguard:\n      peers:\n        - " + laptopItem + "\n        - " + phoneItem + "\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for kind, form := range map[string]func(string) string{
				"plain": func(s string) string { return s },
				"CRLF":  func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
				"BOM":   func(s string) string { return "\ufeff" + s },
			} {
				e := openEdit(t, form(peersText(c.text)))
				if found, err := e.AddPeer(phone); err != nil || len(found) > 0 {
					t.Fatalf("%s: %v %v", kind, err, found)
				}
				want := form(peersText(c.want))
				if got := string(e.Text()); got != want {
					t.Errorf("%s: the text is\n%q\nwant\n%q", kind, got, want)
				}
				if c.oneWay {
					continue
				}
				if found, err := e.RemovePeer("phone"); err != nil || len(found) > 0 {
					t.Fatalf("%s: %v %v", kind, err, found)
				}
				if got := string(e.Text()); got != form(peersText(c.text)) {
					t.Errorf("%s: after removing the text is\n%q\nwant\n%q", kind, got, form(peersText(c.text)))
				}
			}
		})
	}
}

func openEdit(t *testing.T, text string) *config.Edit {
	t.Helper()
	e, found, err := config.OpenEdit(project(t, text, nil))
	if err != nil || len(found) > 0 {
		t.Fatalf("%v %s", err, rendered(t, found))
	}
	return e
}

// The first of two, where the comma goes with it.
func TestRemoveFirst(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"[" + laptopItem + ", " + phoneItem + "]", "\n      - " + laptopItem + "\n      - " + phoneItem} {
		e := openEdit(t, peersText("layers:\n  ssh: {}\n  nftables: {}\n  wireguard:\n    peers: "+list+"\n"))
		if found, err := e.RemovePeer("laptop"); err != nil || len(found) > 0 {
			t.Fatal(err, found)
		}
		if got := e.WireGuard().Peers; len(got) != 1 || got[0] != phone {
			t.Errorf("%+v", got)
		}
		found, err := e.RemovePeer("phone")
		if err != nil || len(found) != 1 || !strings.Contains(found[0].Message, "nobody would be able to connect") {
			t.Errorf("the last peer: %v, %v", err, found)
		}
	}
}

func TestEditRefuses(t *testing.T) {
	t.Parallel()
	e := openEdit(t, peersText("layers:\n  - ssh\n  - nftables\n  - wireguard\n"))
	if _, err := e.AddPeer(phone); err == nil || !strings.Contains(err.Error(), "yourself: {name: phone") {
		t.Errorf("a bare name: %v", err)
	}
	e = openEdit(t, exampleText(t))
	before := string(e.Text())
	if found, err := e.AddPeer(wireguard.Peer{Name: "laptop", Address: "10.8.0.3", PublicKey: phoneKey}); err != nil || len(found) == 0 {
		t.Errorf("a second laptop: %v, %v", found, err)
	}
	if string(e.Text()) != before {
		t.Error("a refused edit changes the text")
	}
	_, found, err := config.OpenEdit(project(t, "name: [\n", nil))
	if err != nil || len(found) == 0 {
		t.Errorf("a broken file: %v, %v", found, err)
	}
}

// Whatever the file looks like, an edit either says no or adds the peer and
// keeps every other line.
func FuzzAddPeer(f *testing.F) {
	for _, pattern := range []string{"testdata/broken/*.yaml", "testdata/complete/ingot.yaml", example + "/ingot.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	file := filepath.Join(f.TempDir(), config.FileName)
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		e, found, err := config.OpenEdit(file)
		if err != nil || len(found) > 0 {
			return
		}
		before := e.WireGuard().Peers
		if found, err := e.AddPeer(phone); err != nil || len(found) > 0 {
			if string(e.Text()) != string(data) {
				t.Error("a refused edit changes the text")
			}
			return
		}
		if after := e.WireGuard().Peers; len(after) != len(before)+1 || after[len(before)] != phone {
			t.Errorf("peers %+v", after)
		}
		if len(e.Text()) < len(data) {
			t.Errorf("the text got shorter: %q", e.Text())
		}
	})
}
