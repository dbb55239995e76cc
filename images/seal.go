package images

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"ingot/fault"
	"ingot/ignition"
	"ingot/layers"
)

// sealed is a finished root.
type sealed struct {
	dir      string // stage with root.erofs, root.verity and root-hash
	rootHash string
}

// seal puts the layers over the base, has the tree validated, and makes the
// read-only root and its hash tree.
func (b *builder) seal(ctx context.Context, plan layers.Plan, r recipe, t trees, store string, share map[string][]byte) (sealed, error) {
	if err := checkVar(t.base, plan); err != nil {
		return sealed{}, err
	}
	if err := checkTakenAway(plan); err != nil {
		return sealed{}, err
	}
	key := r.root.key()
	dir, err := b.stage(ctx, r.root, func(dir string) error {
		config, err := ignition.Image(withFactory(t.base, plan))
		if err != nil {
			return fault.Input(err)
		}
		input := filepath.Join(dir, "input")
		if err := writeSealInput(input, config.JSON, plan, share); err != nil {
			return err
		}
		err = b.run(ctx, script{Name: "seal", Log: b.opts.Log, Env: map[string]string{
			"BASE": filepath.Join(t.base, "tree"), "TOOLS": t.tools.root, "IGNITION": t.ignition, "AGENT": b.opts.Agent, "INPUT": input, "STORE": store,
			"OUT": dir, "EPOCH": fmt.Sprint(r.lock.Epoch), "UUID": derivedUUID("root", key), "COMPRESSION": cmp.Or(b.opts.Compression, FastCompression),
		}})
		if err != nil {
			return errors.Join(refusals(filepath.Join(dir, "refused"), t.base, plan), err)
		}
		// Half a second of writing, beside what reads it.
		written := make(chan error, 1)
		go func() { written <- syncFile(filepath.Join(dir, "root.erofs")) }()
		err = refuseSecrets(filepath.Join(dir, "layers.tar"), plan)
		if err == nil {
			err = b.finishRoot(ctx, dir, key, t.tools)
		}
		return errors.Join(err, <-written)
	})
	if err != nil {
		return sealed{}, err
	}
	if err := checkFill(filepath.Join(dir, "root.erofs"), plan.Site.SlotBytes); err != nil {
		return sealed{}, fault.Input(err)
	}
	hash, err := os.ReadFile(filepath.Join(dir, "root-hash"))
	if err != nil {
		return sealed{}, err
	}
	return sealed{dir: dir, rootHash: strings.TrimSpace(string(hash))}, nil
}

// finishRoot makes the hash tree and clears away what only the build needed.
func (b *builder) finishRoot(ctx context.Context, dir, key string, t tools) error {
	hash, err := makeVerity(ctx, t, filepath.Join(dir, "root.erofs"), filepath.Join(dir, "root.verity"), derivedUUID("verity", key))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "root-hash"), []byte(hash+"\n"), 0o644); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(filepath.Join(dir, "input")), os.Remove(filepath.Join(dir, "layers.tar")))
}

// writeSealInput lays out what seal.sh reads.
func writeSealInput(dir string, config []byte, plan layers.Plan, share map[string][]byte) error {
	if err := os.MkdirAll(filepath.Join(dir, "validators"), 0o755); err != nil {
		return err
	}
	key, err := throwawayKey()
	if err != nil {
		return err
	}
	files := map[string][]byte{"image.ign": config, "presets": []byte(strings.Join(presets(plan), "\n")), "throwaway-key": key}
	files["suid"], files["removed"] = takenAway{plan.SUID, plan.Removed}.lists()
	for name, text := range share {
		files["share/"+name] = text
	}
	for i, v := range plan.Validators {
		sub := fmt.Sprintf("validators/%03d/", i)
		files[sub+"argv"] = []byte(strings.Join(v.Argv, "\x00"))
		files[sub+"layer"] = []byte(v.Layer)
		files[sub+"hostkey"] = []byte(v.HostKey)
		if v.PrintsErrors {
			files[sub+"prints-errors"] = nil
		}
	}
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// throwawayKey is an SSH host key for "sshd -t"; it never enters the tree
// that is packed.
func throwawayKey() ([]byte, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(block), nil
}

// refuseSecrets scans what the layers added and names the layer of a find.
func refuseSecrets(archive string, plan layers.Plan) error {
	found, err := scanTar(archive)
	if err != nil || len(found) == 0 {
		return err
	}
	var refusals []error
	for _, s := range found {
		unit := strings.TrimPrefix(s.path, "/etc/systemd/system/")
		layer := ownerOf(plan, "file "+s.path, "unit "+unit, "drop-in "+unit)
		refusals = append(refusals, fmt.Errorf("layer %s: %s; an image must not hold secrets: use a secret slot", layer, s))
	}
	return fault.Input(errors.Join(refusals...))
}

// withFactory adds the folders that packages have under /var, which systemd
// makes on the empty state volume.
func withFactory(base string, plan layers.Plan) layers.Plan {
	folders, err := os.ReadFile(filepath.Join(base, "var-folders"))
	if err != nil || len(folders) == 0 {
		return plan
	}
	plan.Image.Files = append(slices.Clone(plan.Image.Files), layers.File{
		Path: "/usr/lib/tmpfiles.d/ingot-factory.conf", Mode: 0o644,
		Contents: "# Folders that packages have under /var.\n" + withoutState(string(folders), plan.State),
	})
	return plan
}

// withoutState leaves out the folders that a layer declares as state: of two
// lines about one path systemd-tmpfiles takes the first, and the owner and mode
// that the layer wants are in the other.
func withoutState(folders string, state []layers.State) string {
	var kept strings.Builder
	for line := range strings.Lines(folders) {
		f := strings.Fields(line)
		if len(f) > 1 && slices.ContainsFunc(state, func(s layers.State) bool { return path.Clean(s.Path) == f[1] }) {
			continue
		}
		kept.WriteString(line)
	}
	return kept.String()
}

// checkVar refuses package files under /var that nobody declared: they would
// silently be missing on the machine.
func checkVar(base string, plan layers.Plan) error {
	b, err := os.ReadFile(filepath.Join(base, "var-files"))
	if err != nil {
		return err
	}
	var undeclared []string
	for file := range strings.FieldsSeq(string(b)) {
		if !declared(file, plan) {
			undeclared = append(undeclared, file)
		}
	}
	if len(undeclared) > 0 {
		return fault.Input(fmt.Errorf("packages bring files under /var that no layer declares as state or as disposable: %s", strings.Join(undeclared, ", ")))
	}
	return nil
}

func declared(file string, plan layers.Plan) bool {
	for _, s := range plan.State {
		if file == s.Path || strings.HasPrefix(file, s.Path+"/") {
			return true
		}
	}
	return slices.ContainsFunc(plan.Disposable, func(pattern string) bool {
		ok, _ := path.Match(pattern, file)
		return ok
	})
}
