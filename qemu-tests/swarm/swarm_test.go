package swarm

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func torrent() Torrent {
	return Torrent{Name: "file", Data: bytes.Repeat([]byte("0123456789abcdef"), 3*pieceLength/16+5), Announce: "http://tracker.example/announce"}
}

// The bencoded forms are those of BEP 3; the hash is that of the info dictionary as
// it stands in the file.
func TestMetainfo(t *testing.T) {
	t.Parallel()
	x := torrent()
	meta := x.Metainfo()
	if !bytes.HasPrefix(meta, []byte("d8:announce31:http://tracker.example/announce4:infod6:lengthi196688e4:name4:file12:piece lengthi65536e6:pieces80:")) || !bytes.HasSuffix(meta, []byte("ee")) {
		t.Errorf("%.140q", meta)
	}
	info := meta[bytes.Index(meta, []byte("4:info"))+6 : len(meta)-1]
	if sha1.Sum(info) != x.InfoHash() {
		t.Error("the hash is of something else")
	}
}

func TestTracker(t *testing.T) {
	t.Parallel()
	tracker := &Tracker{Seeder: netip.MustParseAddrPort("192.0.2.7:258")}
	server := httptest.NewServer(tracker)
	defer server.Close()
	answer, err := http.Get(server.URL + "/announce?info_hash=x")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || string(body) != "d8:intervali30e5:peers6:\xc0\x00\x02\x07\x01\x02e" {
		t.Errorf("%q, %v", body, err)
	}
	if seen := tracker.Visitors.Addresses(); len(seen) != 1 || !seen[0].IsLoopback() {
		t.Errorf("visitors %v", seen)
	}
}

// A client gets what it asks for, no more than is allowed, and nothing of another
// torrent.
func TestSeeder(t *testing.T) {
	t.Parallel()
	x := torrent()
	seeder := NewSeeder(x)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { _ = seeder.Serve(l) }()

	conn := connect(t, l, x.InfoHash())
	const block = 16 << 10
	ask := func(index, begin, length uint32) {
		payload := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, index), begin), length)
		if _, err := conn.Write(message(request, payload)); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, conn, bitfield, []byte{0xf0})
	if _, err := conn.Write(message(interested, nil)); err != nil {
		t.Fatal(err)
	}
	expect(t, conn, unchoke, nil)
	ask(3, 0, 80)
	ask(1, block, block)
	seeder.Allow(80)
	expect(t, conn, piece, append([]byte{0, 0, 0, 3, 0, 0, 0, 0}, x.Data[3*pieceLength:]...))
	seeder.Allow(block)
	expect(t, conn, piece, append([]byte{0, 0, 0, 1, 0, 0, 0x40, 0}, x.Data[pieceLength+block:pieceLength+2*block]...))
	if seeder.Sent() != 80+block {
		t.Errorf("%d bytes were sent", seeder.Sent())
	}
	ask(3, 80, block) // beyond the end: the seeder hangs up
	stranger := connect(t, l, [sha1.Size]byte{1})
	if n, err := stranger.Read(make([]byte, 1)); err == nil {
		t.Errorf("a stranger's torrent is answered with %d bytes", n)
	}
}

// Nothing is sent that nobody allowed.
func TestAllow(t *testing.T) {
	t.Parallel()
	seeder, gone := NewSeeder(torrent()), make(chan struct{})
	close(gone) // whoever has to wait gives up
	for _, c := range []struct {
		allow int
		want  bool
	}{{0, false}, {80, true}, {0, false}, {1, true}} {
		if c.allow > 0 {
			seeder.Allow(c.allow)
		}
		if got := seeder.take(80, gone); got != c.want {
			t.Errorf("with %d more allowed: %v", c.allow, got)
		}
	}
}

func connect(t *testing.T, l net.Listener, hash [sha1.Size]byte) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	hello := append([]byte(protocolName), make([]byte, 8)...)
	hello = append(append(hello, hash[:]...), strings.Repeat("x", sha1.Size)...)
	if _, err := conn.Write(hello); err != nil {
		t.Fatal(err)
	}
	if hash != torrent().InfoHash() {
		return conn
	}
	answer := make([]byte, len(hello))
	if _, err := io.ReadFull(conn, answer); err != nil || !bytes.Equal(answer[28:48], hash[:]) {
		t.Fatalf("the handshake: %q, %v", answer, err)
	}
	return conn
}

func expect(t *testing.T, r io.Reader, id byte, payload []byte) {
	t.Helper()
	got, body, err := readMessage(r)
	if err != nil || got != id || !bytes.Equal(body, payload) {
		t.Fatalf("message %d of %d bytes, %v; want %d of %d", got, len(body), err, id, len(payload))
	}
}
