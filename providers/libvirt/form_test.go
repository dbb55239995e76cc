package libvirt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ingot/providers"
)

func TestExtents(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for name, c := range map[string]struct {
		size int64
		data []int64 // where a byte is not zero
		want []extent
	}{
		"nothing":        {0, nil, nil},
		"zeros":          {20 * mib, nil, nil},
		"one byte":       {20*mib + 1, []int64{20 * mib}, []extent{{20 * mib, 1}}},
		"a small hole":   {20 * mib, []int64{0, 8 * mib}, []extent{{0, 9 * mib}}},
		"a large hole":   {20 * mib, []int64{0, 9*mib + 5}, []extent{{0, mib}, {9 * mib, mib}}},
		"a short end":    {3*mib + 7, []int64{2 * mib, 3*mib + 6}, []extent{{2 * mib, mib + 7}}},
		"the first zero": {2 * mib, []int64{mib}, []extent{{mib, mib}}},
	} {
		b := make([]byte, c.size)
		for _, at := range c.data {
			b[at] = 1
		}
		got, err := extents(t.Context(), bytes.NewReader(b), c.size)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, c.want)
		}
	}
	if _, err := extents(t.Context(), bytes.NewReader(nil), 1); !errors.Is(err, io.EOF) {
		t.Errorf("an image that is shorter than said: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := extents(ctx, bytes.NewReader([]byte{1}), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestLabelsInNames(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("a1", 10)
	for name, want := range map[string]string{
		imageVolume(id, strings.Repeat("0f", 32)):           id,
		noteName(imageVolume(id, strings.Repeat("0f", 32))): id,
		serverVolume(id, "web-1", "disk.raw"):               id,
		serverVolume(id, "image", "state.raw"):              id,
		serverVolume(id, "a.b", "config.iso"):               id,
		"ingot-" + id + "-web-1.raw":                        "",
		"ingot-" + id[1:] + "-web-1-disk.raw":               "",
		"my-ingot-" + id + "-web-1-disk.raw":                "",
		"ingot-" + id + "-web-1-disk.raw.bak":               "",
		"ingot-" + id + "-image-0f.raw":                     "",
		"ubuntu.iso":                                        "",
	} {
		if got := volumeID(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !reserved.MatchString(reservationName(id, "web-1")) || macOf(id, "web-1") == macOf(id, "web-2") {
		t.Error("the names of reservations and cards are not as they should be")
	}
}

func TestSeed(t *testing.T) {
	t.Parallel()
	config := bytes.Repeat([]byte("x"), providers.MaxUserData)
	b, err := seed(config)
	if err != nil || bytes.Count(b, config) != 1 || string(b[0x8001:0x8006]) != "CD001" || !bytes.HasPrefix(b[0x8028:], []byte(seedLabel)) {
		t.Errorf("%d bytes, the config %d times, %q, %v", len(b), bytes.Count(b, config), b[0x8000:0x8050], err)
	}
}

func TestFreeAddresses(t *testing.T) {
	t.Parallel()
	a := netip.MustParseAddr
	d := dhcp{ranges: [][2]netip.Addr{{a("10.0.0.1"), a("10.0.0.3")}, {a("10.0.1.255"), a("10.0.2.1")}}, reserved: []reservation{{"m", "n", a("10.0.0.2")}}}
	got := d.free("52:54:00:00:00:01", map[netip.Addr]bool{a("10.0.2.0"): true})
	slices.SortFunc(got, netip.Addr.Compare)
	if want := []netip.Addr{a("10.0.0.1"), a("10.0.0.3"), a("10.0.1.255"), a("10.0.2.1")}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if (dhcp{}).free("m", nil) != nil {
		t.Error("a network without ranges has addresses")
	}
}

// FuzzFilter reads whatever libvirt may say. A rule that is understood is written as
// it was read.
func FuzzFilter(f *testing.F) {
	whole, err := newFilter(strings.Repeat("a1", 10), "web", rules("tcp 443 0.0.0.0/0", "icmpv6 128 ::/0", "udp 53 192.0.2.0/24"))
	if err != nil {
		f.Fatal(err)
	}
	text, err := marshal(whole)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("<filter><rule action='accept' direction='in'><tcp srcipaddr='1.2.3.4' srcipmask='255.0.0.0' dstportstart='0x50'/></rule></filter>")
	f.Add("<filter><rule action='accept' direction='in'><tcp-ipv6 srcipaddr='::ffff:1.2.3.4'/></rule><filterref filter='x'/></filter>")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parse(text)
		if err != nil {
			return
		}
		state, err := readFilter(n)
		if err != nil {
			return
		}
		for _, i := range state.Rules {
			if i.Opaque != "" {
				continue
			}
			if i.From > i.To {
				continue
			}
			written, err := ruleNode(i.Rule)
			if err != nil {
				t.Fatalf("%s: %v", i, err)
			}
			if read, ok := readRule(written); !ok || !read.Does(i.Rule) {
				t.Errorf("%s became %s (%v)", i, read, ok)
			}
		}
	})
}
