package images

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"ingot/fault"
	"ingot/layers"
)

// argumentShape is what survives GRUB's quotes and the kernel's splitting at
// blanks as one argument: printable ASCII without blanks, quotes, backslashes.
var argumentShape = regexp.MustCompile(`^[!#-&(-\[\]-~]+$`)

// sealArguments are the ones slotCfg sets itself: a second value would win and
// boot another root.
var sealArguments = []string{"root", "rootfstype", "ro", "rw", "roothash", "init", "rdinit", "systemd.verity"}

// maxArguments is COMMAND_LINE_SIZE of arch/x86 (2048 bytes, the rest is cut
// off silently) less the root hash and what GRUB puts in front.
const maxArguments = 2048 - 256

// checkArguments refuses kernel arguments that could break out of the boot
// configuration, unseal the root, or tell a secret.
func checkArguments(plan layers.Plan) error {
	var refusals []error
	for _, argument := range plan.Image.KernelArguments {
		name, _, _ := strings.Cut(argument, "=")
		refuse := func(format string, a ...any) {
			layer := ownerOf(plan, "kernel argument "+argument, "kernel argument "+name)
			refusals = append(refusals, fmt.Errorf("layer %s: kernel argument "+format, append([]any{layer}, a...)...))
		}
		what := findSecret("", []byte(argument))
		switch {
		case what != "": // not shown: errors end up in logs
			refuse("%q holds %s; an image must not hold secrets: use a secret slot", name, what)
		case !argumentShape.MatchString(argument):
			refuse("%q has a blank, a quote, a backslash or a character outside ASCII; write one argument as name or name=value", argument)
		case slices.Contains(sealArguments, name):
			refuse("%q is the image's own; remove it: the sealed root depends on it", argument)
		}
	}
	if n := len(strings.Join(plan.Image.KernelArguments, " ")); n > maxArguments {
		refusals = append(refusals, fmt.Errorf("the kernel arguments have %d bytes and the kernel takes %d; remove some", n, maxArguments))
	}
	return fault.Input(errors.Join(refusals...))
}

// ownerOf is the layer that claimed the first known of what, in the plan's
// terms.
func ownerOf(plan layers.Plan, what ...string) string {
	for _, w := range what {
		if layer := plan.Owner[w]; layer != "" {
			return layer
		}
	}
	return "unknown"
}
