package inspect

import (
	"fmt"
	"testing"

	"ingot/layers"
	"ingot/layers/nftables"
)

// TestPortsOfTheRuleset reads what the layer writes today.
func TestPortsOfTheRuleset(t *testing.T) {
	t.Parallel()
	plan := layers.Plan{Ports: []layers.Port{
		{Proto: "tcp", Port: 443, From: layers.FromInternet, Why: "the web, if you accept it"},
		{Proto: "udp", Port: 51820, From: layers.FromInternet, Why: "WireGuard", Untracked: true, NewPerMinute: 5},
		{Proto: "tcp", Port: 22, From: layers.FromWireGuard, Why: "SSH"},
	}}
	var got []Port
	for _, f := range (nftables.Layer{}).Finish(plan).Image.Files {
		if f.Path == ruleset {
			got = readPorts([]byte(f.Contents))
		}
	}
	if want := "[{tcp 443 internet the web, if you accept it} {udp 51820 internet WireGuard} {tcp 22 wireguard SSH}]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	if got, want := fmt.Sprint(readPorts(nil), readPorts([]byte{})), "[{any port internet there is no /etc/nftables.conf}] []"; got != want {
		t.Errorf("without a ruleset: %s, want %s", got, want)
	}
}

func TestReadUsers(t *testing.T) {
	t.Parallel()
	got, err := readUsers("root:x:0:0:root:/root:/bin/bash\na:x:1:2::/a:/b\nb:x:3:3::/:/c\nc::4:4::/:/d\nd:x:5:5::/:/e\n",
		"root:*:20000:0:99999:7:::\na:$y$j9T$abc$def:1::::::\nb:!$6$x:1::::::\nd::1::::::\n")
	want := "[{root 0 0 /root /bin/bash none} {a 1 2 /a /b set} {b 3 3 / /c none} {c 4 4 / /d empty} {d 5 5 / /e empty}]"
	if fmt.Sprint(got) != want || err != nil {
		t.Errorf("%v (%v), want %s", got, err, want)
	}
	for _, broken := range []string{"root:x:0\n", "root:x:zero:0:::\n"} {
		if _, err := readUsers(broken, ""); err == nil {
			t.Errorf("%q: no error", broken)
		}
	}
}

func TestReadUnits(t *testing.T) {
	t.Parallel()
	link := func(path, target string) File { return File{Path: etcUnits + path, Type: "link", Target: target} }
	file := func(path string) File { return File{Path: etcUnits + path, Type: "file"} }
	units := readUnits([]File{
		{Path: etcUnits + "/x.target.wants", Type: "directory"},
		link("/x.target.wants/a.service", "/usr/lib/systemd/system/a.service"), link("/b.target.requires/a.service", "/usr/lib/systemd/system/a.service"),
		link("/alias.service", "/usr/lib/systemd/system/a.service"), link("/m.service", "/dev/null"), file("/own.service"),
		file("/s.socket.d/10.conf"), file("/s.socket.d/20.conf"), link("/sockets.target.wants/s.socket", "/usr/lib/systemd/system/s.socket"),
		{Path: "/usr/lib/systemd/system/x.target.wants/other.service", Type: "link"},
	})
	want := "[{a.service enabled [alias.service b.target x.target] false []} {m.service masked [] false []} {own.service present [] true []} {s.socket enabled [sockets.target] false [10.conf 20.conf]}]"
	if fmt.Sprint(units) != want {
		t.Errorf("%v, want %s", units, want)
	}
}

func TestReadSockets(t *testing.T) {
	t.Parallel()
	files := []File{
		{Path: usrUnits + "/sockets.target.wants/p.socket"}, {Path: usrUnits + "/sockets.target.wants/m.socket"}, {Path: usrUnits + "/deep/x.wants/no.socket"},
	}
	units := []Unit{{Name: "m.socket", State: "masked"}, {Name: "s.socket", State: "enabled"}, {Name: "p.socket", State: "present"}, {Name: "n.socket", State: "present"}, {Name: "a.service", State: "enabled"}}
	kept := texts{}
	for name, text := range map[string]string{
		usrUnits + "/s.socket":           "[Socket]\nListenStream=22\nListenDatagram = 23\n",
		etcUnits + "/s.socket.d/10.conf": "[Socket]\nListenStream=\nListenStream=[::]:24\n",
		etcUnits + "/s.socket.d/20.conf": "[Socket]\n# ListenStream=25\nListenFIFO=/run/x\n",
		usrUnits + "/s.socket.d/20.conf": "[Socket]\nListenStream=26\n",
		usrUnits + "/s.socket.d/30.conf": "[Socket]\nListenStream=27\n",
		usrUnits + "/p.socket":           "[Socket]\nListenStream=/run/p\n",
		etcUnits + "/p.socket":           "[Socket]\nListenStream=28\n",
		usrUnits + "/m.socket":           "[Socket]\nListenStream=29\n",
		usrUnits + "/n.socket":           "[Socket]\nListenStream=30\n",
	} {
		if !wanted(name) {
			t.Errorf("%s is not read", name)
		}
		kept[name] = []byte(text)
	}
	sockets := readSockets(files, units, kept)
	if want := "[{p.socket [stream 28]} {s.socket [stream [::]:24 fifo /run/x stream 27]}]"; fmt.Sprint(sockets) != want {
		t.Errorf("%v, want %s", sockets, want)
	}
}

func TestFilesOfPackages(t *testing.T) {
	t.Parallel()
	paths := []string{"/usr/bin/x", "/usr/share/factory/var/lib/x", "/usr/lib/python3/__pycache__/m.cpython-313.pyc", "/usr/lib/python3/__pycache__/n.cpython-313.pyc", dpkgFolder + "/info/p:amd64.list", "/etc/own", "/usr/lib/modules/6.1/config"}
	i := Image{}
	for _, p := range paths {
		i.Files = append(i.Files, File{Path: p, Type: "file"})
	}
	i.ownFiles(map[string][]byte{dpkgFolder + "/info/p:amd64.list": []byte("/.\n/bin/x\n/var/lib/x\n/usr/lib/python3/m.py\n/boot/config-6.1\n")})
	got := ""
	for _, f := range i.Files {
		got += f.Package + ";"
	}
	if want := "p;p;p;;p;;p;"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"spdxVersion":"SPDX-2.3"}`: "SPDX-2.3", `{"bomFormat":"CycloneDX","specVersion":"1.6"}`: "CycloneDX-1.6",
		`{"_type":"a","predicateType":"https://slsa.dev/provenance/v1"}`: "https://slsa.dev/provenance/v1",
		`{"a":1}`: "JSON", `[1]`: "JSON", `words`: "text",
	} {
		if got := kindOf([]byte(text)); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
