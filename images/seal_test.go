package images

import (
	"testing"

	"ingot/layers"
)

// The owner and mode that a layer declares for its state are what counts.
func TestWithoutState(t *testing.T) {
	t.Parallel()
	const folders = "d /var/lib/a 0755 root root -\nd /var/lib/a/b 0700 root root -\nd /var/lib/ab 0755 root root -\n"
	const want = "d /var/lib/a/b 0700 root root -\nd /var/lib/ab 0755 root root -\n"
	if got := withoutState(folders, []layers.State{{Path: "/var/lib/a/"}, {Path: "/var/lib/c"}}); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
