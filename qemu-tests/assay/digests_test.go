package assay

import (
	"errors"
	"testing"

	"ingot/layers"
)

func TestSameDigests(t *testing.T) {
	t.Parallel()
	images := []layers.ContainerImage{{Name: "localhost/app:latest", Packages: []string{"busybox-static"}}, {Name: "localhost/pages:latest"}, {Name: "docker.io/library/web:1"}}
	locked := map[string]string{"localhost/pages:latest": "sha256:aa", "docker.io/library/web:1": "sha256:bb"}
	const app, pages, web = "app localhost/app:latest sha256:cc\n", "pages localhost/pages:latest sha256:aa\n", "web docker.io/library/web:1 sha256:bb\n"
	for text, kept := range map[string]bool{
		app + pages + web: true,
		pages:             true,
		app:               false, // none of the lock's runs
		"":                false,
		pages + "web docker.io/library/web:1 sha256:aa\n":     false,
		pages + "other docker.io/library/other:1 sha256:aa\n": false,
	} {
		_, err := sameDigests(text, images, locked)
		if (err == nil) != kept || err != nil && !errors.Is(err, errUnmet) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := sameDigests("pages localhost/pages:latest\n", images, locked); err == nil || errors.Is(err, errUnmet) {
		t.Errorf("a line that is cut short: %v", err)
	}
}
