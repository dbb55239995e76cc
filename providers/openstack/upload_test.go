package openstack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"ingot/fault"
	"ingot/providers"
)

// open logs in as the ordinary user.
func (c *cloud) open(t *testing.T, o Options) *Provider {
	t.Helper()
	t.Setenv("OS_CLIENT_CONFIG_FILE", c.cloudsFile())
	o.Cloud = "smith"
	p, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	p.poll = 50 * time.Millisecond
	return p
}

func journalFor(t *testing.T, p *Provider) (*providers.Journal, *providers.Entry) {
	t.Helper()
	j, err := providers.OpenJournal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	e, err := j.Begin(p.Name(), p.Account(), t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Abandon() })
	return j, e
}

// collect removes all that a test has made.
func collect(t *testing.T, p *Provider, e *providers.Entry) {
	t.Helper()
	t.Cleanup(func() {
		found, err := p.Find(context.Background(), e.ID)
		for _, r := range found {
			err = errors.Join(err, p.Delete(context.Background(), r))
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// picture is an image of random bytes, which nobody else has.
func picture(e *providers.Entry, bytesLong int) providers.Upload {
	data := make([]byte, bytesLong)
	seed := sha256.Sum256([]byte(e.ID))
	_, _ = rand.NewChaCha8(seed).Read(data)
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	return providers.Upload{
		Name: "claw-1", Image: bytes.NewReader(data), Bytes: int64(bytesLong), SHA256: digest, Journal: e,
		Labels: map[string]string{providers.LabelImage: providers.LabelDigest(digest), providers.LabelVerdict: strings.Repeat("ab", 20), providers.LabelID: e.ID},
	}
}

func TestUpload(t *testing.T) {
	c := needCloud(t)
	var writes atomic.Int64
	p := c.open(t, Options{Transport: watch{before: func(r *http.Request) error {
		if r.Method != http.MethodGet {
			writes.Add(1)
		}
		return nil
	}}})
	_, e := journalFor(t, p)
	collect(t, p, e)
	u := picture(e, 9<<20)
	var seen int64
	u.Progress = func(done int64) { seen = done }
	image, err := p.Upload(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if seen != u.Bytes {
		t.Errorf("progress ended at %d of %d", seen, u.Bytes)
	}
	var shown struct {
		Status, DiskFormat, Visibility string
		MinDisk                        int `json:"min_disk"`
		Size                           int64
		Disk                           string `json:"disk_format"`
		Container                      string `json:"container_format"`
		Tags                           []string
		Properties                     map[string]any
	}
	c.client(t, "smith", &shown, "image", "show", image.ID)
	if shown.Status != "active" || shown.Size != u.Bytes || shown.Disk != "raw" || shown.Container != "bare" || shown.Visibility != "private" || shown.MinDisk != 5 {
		t.Errorf("openstackclient sees %+v", shown)
	}
	for name, want := range map[string]string{
		"hw_disk_bus": "virtio", "os_distro": "debian", "os_hash_algo": "sha512",
		providers.LabelID: e.ID, providers.LabelImage: u.Labels[providers.LabelImage],
	} {
		if shown.Properties[name] != want {
			t.Errorf("openstackclient sees %s = %v, not %s", name, shown.Properties[name], want)
		}
	}
	if _, ok := shown.Properties["hw_firmware_type"]; ok {
		t.Error("hw_firmware_type is set, and the image boots both ways")
	}

	writes.Store(0)
	again := u
	_, again.Journal = journalFor(t, p)
	again.Labels = map[string]string{providers.LabelImage: u.Labels[providers.LabelImage], providers.LabelVerdict: u.Labels[providers.LabelVerdict], providers.LabelID: again.Journal.ID}
	same, err := p.Upload(t.Context(), again)
	if err != nil || same.ID != image.ID || writes.Load() != 0 {
		t.Errorf("the second upload: %v, %v, %d writes", same, err, writes.Load())
	}
	again.Labels[providers.LabelVerdict] = strings.Repeat("cd", 20)
	other, err := p.Upload(t.Context(), again)
	if err != nil || other.ID == image.ID {
		t.Errorf("an image with another verdict: %v, %v", other, err)
	}
	collect(t, p, again.Journal)
}

// cut ends the body of uploads after some bytes.
type cut struct {
	io.ReadCloser
	left int
}

func (c *cut) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("the cable was pulled")
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func isUpload(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/file")
}

// An upload that breaks in the middle is found, is nobody's image, and is replaced.
func TestUploadCut(t *testing.T) {
	c := needCloud(t)
	var broken atomic.Bool
	broken.Store(true)
	p := c.open(t, Options{Transport: watch{before: func(r *http.Request) error {
		if isUpload(r) && broken.Load() {
			r.Body = &cut{r.Body, 3 << 20}
		}
		return nil
	}}})
	_, e := journalFor(t, p)
	collect(t, p, e)
	u := picture(e, 9<<20)
	if _, err := p.Upload(t.Context(), u); fault.Of(err) != fault.OfProvider || !strings.Contains(err.Error(), "the cable was pulled") {
		t.Errorf("the upload that was cut: %v", err)
	}
	left, err := p.Find(t.Context(), e.ID)
	if err != nil || len(left) != 1 || left[0].Kind != kindImage {
		t.Fatalf("%v, %v are found", left, err)
	}
	if list, err := p.Images(t.Context()); err != nil || hasImage(list, left[0].ID) {
		t.Errorf("the half image is one of %v, %v", list, err)
	}
	broken.Store(false)
	image, err := p.Upload(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := p.Find(t.Context(), e.ID)
	if err != nil || len(whole) != 1 || whole[0].ID != image.ID {
		t.Errorf("afterwards there are %v, %v", whole, err)
	}
	if list, err := p.Images(t.Context()); err != nil || !hasImage(list, image.ID) {
		t.Errorf("the whole image is not one of %v, %v", list, err)
	}
}

func isStateImage(i images.Image) bool { return ourLabels(i.Properties)[labelState] != "" }

func hasImage(list []providers.Image, id string) bool {
	for _, i := range list {
		if i.ID == id {
			return true
		}
	}
	return false
}

// flipped changes one byte on the way.
type flipped struct{ io.ReadCloser }

func (f flipped) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if n > 0 {
		p[n/2] ^= 1
	}
	return n, err
}

// Wrong bytes are noticed, whether they were wrong here or became so on the way, and
// are not kept.
func TestUploadOfOtherBytes(t *testing.T) {
	c := needCloud(t)
	for _, test := range []struct {
		name  string
		flip  bool
		touch func(*providers.Upload)
		want  fault.Kind
		words string
	}{
		{"on the way", true, func(*providers.Upload) {}, fault.OfProvider, "has got another image"},
		{"here", false, func(u *providers.Upload) { u.SHA256 = strings.Repeat("0", 64) }, fault.OfInput, "has changed while it was sent"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := c.open(t, Options{Transport: watch{before: func(r *http.Request) error {
				if isUpload(r) && test.flip {
					r.Body = flipped{r.Body}
				}
				return nil
			}}})
			_, e := journalFor(t, p)
			collect(t, p, e)
			u := picture(e, 1<<20)
			test.touch(&u)
			_, err := p.Upload(t.Context(), u)
			if fault.Of(err) != test.want || !strings.Contains(err.Error(), test.words) {
				t.Error(err)
			}
			if left, err := p.Find(t.Context(), e.ID); err != nil || len(left) != 0 {
				t.Errorf("%v, %v are left", left, err)
			}
		})
	}
}

// Where the service says nothing about what it keeps, it is read back.
func TestReadBack(t *testing.T) {
	c := needCloud(t)
	p := c.open(t, Options{})
	_, e := journalFor(t, p)
	collect(t, p, e)
	u := picture(e, 1<<20)
	image, err := p.Upload(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.readBack(t.Context(), image.ID, u); err != nil {
		t.Error(err)
	}
	u.SHA256 = strings.Repeat("0", 64)
	if err := p.readBack(t.Context(), image.ID, u); fault.Of(err) != fault.OfProvider {
		t.Error(err)
	}
}
