package images

import (
	"context"
	"fmt"
	"os"
	"regexp"
)

var rootHashLine = regexp.MustCompile(`(?m)^Root hash:\s+([0-9a-f]{64})$`)

// makeVerity writes the hash tree of data and returns the root hash. There is
// no salt: the tree must depend on the data alone.
func makeVerity(ctx context.Context, t tools, data, tree, uuid string) (string, error) {
	out, err := t.run(ctx, "usr/sbin/veritysetup", "format", "--salt=-", "--uuid="+uuid, data, tree)
	if err != nil {
		return "", err
	}
	m := rootHashLine.FindStringSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("veritysetup printed no root hash:\n%s", out)
	}
	return m[1], nil
}

// maxFill is how full a root slot may be: the next image must fit, too.
const maxFill = 90 // percent

// checkFill refuses a root that leaves too little room in its slot.
func checkFill(root string, slot int64) error {
	info, err := os.Stat(root)
	if err != nil {
		return err
	}
	if info.Size()*100 > slot*maxFill {
		return fmt.Errorf("the root is %d MiB, %.1f %% of its slot of %d MiB, and at most %d %% may be used; raise base.slotSize or ask for fewer packages",
			info.Size()/mib, float64(info.Size())*100/float64(slot), slot/mib, maxFill)
	}
	return nil
}
