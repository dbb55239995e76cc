package ionos

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
)

// A process that was ended in mid-upload is gone on with under the same entry.
func TestUploadIsGoneOnWith(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opts.ReadBack = true
	e := r.begin(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	u := testUpload(e)
	u.Progress = func(n int64) {
		if n >= u.Bytes/2 {
			cancel()
		}
	}
	if _, err := r.Upload(ctx, u); !errors.Is(err, context.Canceled) {
		t.Fatalf("an interrupted upload: %v", err)
	}
	if n := len(r.ftp.files(t, diskFolder)); n != 1 {
		t.Fatalf("there are %d files", n)
	}
	image, err := r.Upload(t.Context(), testUpload(e))
	if err != nil {
		t.Fatal(err)
	}
	if files := r.ftp.files(t, diskFolder); len(files) != 1 || !bytes.Equal(files[imageName(testSum, e.ID, 1)], testImage) {
		t.Errorf("there are %d files, or other bytes", len(files))
	}
	if image.Labels[providers.LabelID] != e.ID {
		t.Errorf("the image is %v", image)
	}
}

// A file that IONOS has taken for an image before it was whole is not gone on with.
func TestUploadThatWasTakenTooEarly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.begin(t)
	ctx, cancel := context.WithCancel(t.Context())
	u := testUpload(e)
	u.Progress = func(n int64) {
		if n >= u.Bytes/2 {
			cancel()
		}
	}
	if _, err := r.Upload(ctx, u); err == nil {
		t.Fatal("an interrupted upload has no error")
	}
	r.cloud.settle(true)
	image, err := r.Upload(t.Context(), testUpload(e))
	if err != nil {
		t.Fatal(err)
	}
	if files := r.ftp.files(t, diskFolder); !bytes.Equal(files[imageName(testSum, e.ID, 2)], testImage) {
		t.Errorf("there are %d files and none is the image", len(files))
	}
	if got := byID(r.cloud.state.Images, image.ID); got == nil || nameOf(got) != imageName(testSum, e.ID, 2) {
		t.Errorf("the image is %v", got)
	}
	if _, err := e.Collect(t.Context(), r.Provider); err != nil {
		t.Fatal(err)
	}
	r.empty(t, e.ID)
}

// A file that is no image yet is found on the server for images. Where that does not
// delete it, it is deleted when it has become an image.
func TestFileThatIsNoImageYet(t *testing.T) {
	t.Parallel()
	for _, fixed := range []bool{false, true} {
		r := newRigWith(t, fixed)
		e := r.begin(t)
		ctx, cancel := context.WithCancel(t.Context())
		u := testUpload(e)
		u.Progress = func(n int64) {
			if n == u.Bytes {
				cancel()
			}
		}
		if _, err := r.Upload(ctx, u); err == nil {
			t.Fatal("an interrupted upload has no error")
		}
		found, err := r.Find(t.Context(), e.ID)
		if err != nil || len(found) != 1 || found[0].Kind != kindUpload {
			t.Fatalf("found are %v, %v", found, err)
		}
		if _, err := e.Collect(t.Context(), r.Provider); err != nil {
			t.Fatal(err)
		}
		if n := len(r.ftp.files(t, diskFolder)); n != 0 != fixed {
			t.Errorf("%d files are left", n)
		}
		r.empty(t, e.ID)
	}
}

func TestImagesThatAreNotWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.begin(t)
	image, err := r.Upload(t.Context(), testUpload(e))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.adopt(t.Context(), imageName(testSum, e.ID, 1), 2*gib, sdk.ImageProperties{})
	if fault.Of(err) != fault.OfProvider || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("an image of 1 GB that has 2: %v", err)
	}
	p := *r.Provider
	p.pace.image = 20 * time.Millisecond
	if _, err := p.appears(t.Context(), "none.raw"); fault.Of(err) != fault.OfProvider || !strings.Contains(err.Error(), "wait for the image none.raw") {
		t.Errorf("an image that does not appear: %v", err)
	}
	other := testUpload(r.begin(t))
	other.Image = bytes.NewReader(bytes.Repeat([]byte{7}, len(testImage)))
	other.Labels[providers.LabelImage] = "other"
	if _, err := r.Upload(t.Context(), other); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("an image with another digest: %v", err)
	}
	// One that was deleted is not found, and not started from.
	if err := r.Delete(t.Context(), providers.Resource{Kind: kindImage, ID: image.ID}); err != nil {
		t.Fatal(err)
	}
	if list, err := r.Images(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("the images are %v, %v", list, err)
	}
	if _, err := r.Deploy(t.Context(), testMachine(e, image)); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "was deleted") {
		t.Errorf("a deleted image: %v", err)
	}
}
