package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ingot/config"
	"ingot/fault"
	"ingot/images"
	"ingot/providers"
)

// gateFlags decide what may leave this computer.
type gateFlags struct {
	out      string
	unproven string
	verify   verifyFlags
}

// proven is an image that may be shipped.
type proven struct {
	file, sha256 string
	bytes        int64
	labels       map[string]string
}

// gate lets an image pass that has a verdict for exactly its bytes, or a reason to
// do without.
func (c *console) gate(ctx context.Context, dir string, f gateFlags) (proven, error) {
	image := proven{file: filepath.Join(buildFlags{out: f.out}.output(dir), images.ImageFile)}
	info, err := os.Stat(image.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return image, fault.Input(fmt.Errorf("there is no image: %w; run \"ingot test\", which builds and proves it", err))
	case err != nil:
		return image, fault.Input(err)
	}
	image.bytes = info.Size()
	if f.unproven != "" {
		return image, c.unproven(ctx, &image, dir, f)
	}
	f.verify.folder = dir
	v, err := c.held(ctx, image.file, f.verify)
	if err != nil {
		return image, err
	}
	if len(v.Problems) > 0 {
		if err := c.judged(v); err != nil {
			return image, fault.Checks(fmt.Errorf("%w, so it stays here; --unproven REASON ships it all the same and writes the reason on it", err))
		}
	}
	image.sha256 = v.SHA256
	image.labels = map[string]string{
		providers.LabelImage: providers.LabelDigest(v.SHA256), providers.LabelConfig: providers.LabelDigest(v.config),
		providers.LabelVerdict: providers.LabelDigest(v.envelope),
	}
	c.remark("%s passed %d checks on %s, signed by %s", image.file, v.Checks, v.Started.Format("2006-01-02 15:04 MST"), v.KeyID)
	return image, nil
}

// unproven ships what nobody has proven. The reason is on the image for as long as
// it is there.
func (c *console) unproven(ctx context.Context, image *proven, dir string, f gateFlags) error {
	reason, err := labelText(f.unproven)
	if err != nil {
		return fault.Input(fmt.Errorf("--unproven: %w", err))
	}
	if image.sha256, err = fileDigest(ctx, image.file); err != nil {
		return fault.Input(err)
	}
	loaded, err := c.load(dir)
	if err != nil {
		return err
	}
	image.labels = map[string]string{
		providers.LabelImage: providers.LabelDigest(image.sha256), providers.LabelConfig: providers.LabelDigest(loaded.Digest),
		providers.LabelUnproven: reason,
	}
	c.remark("%s is NOT PROVEN; its label says why it is shipped: %s", image.file, reason)
	return nil
}

// maxReason is how long a label may be.
const maxReason = 63

// labelText writes a sentence with the letters that labels may have.
func labelText(sentence string) (string, error) {
	var b strings.Builder
	for _, r := range strings.TrimSpace(sentence) {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	text := strings.Trim(b.String(), "-._")
	switch {
	case text == "":
		return "", errors.New("give a reason in words")
	case len(text) > maxReason:
		return "", fmt.Errorf("the reason has %d letters as a label, and %d fit; say it shorter", len(text), maxReason)
	}
	return text, nil
}

// instanceOf is the user-data of a folder, which must fit every provider.
func (c *console) instanceOf(loaded config.Loaded, dir string) ([]byte, error) {
	instance, err := c.instance(loaded, dir)
	if err == nil && len(instance) > providers.MaxUserData {
		err = fault.Input(fmt.Errorf("the instance config has %d bytes, and providers take %d; it grows with peers, keys and the VPN's file", len(instance), providers.MaxUserData))
	}
	return instance, err
}
