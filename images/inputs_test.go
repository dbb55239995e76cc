package images

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"ingot/config"
	"ingot/layers"
	"ingot/layers/system"
)

// loadPlan is the plan of a folder that must be without mistakes.
func loadPlan(t *testing.T, dir string) layers.Plan {
	t.Helper()
	loaded, findings, err := config.Load(dir, system.Layer{})
	if err != nil || len(findings) > 0 {
		t.Fatalf("%v, %v", findings, err)
	}
	return loaded.Plan
}

// lockFor is a lock as it would be for a plan.
func lockFor(plan layers.Plan) Lock {
	lock := newLock()
	lock.Requested, lock.Trees = requested(plan), map[Tree][]Package{}
	for tree, names := range lock.Requested {
		for _, name := range names {
			lock.Trees[tree] = append(lock.Trees[tree], newPackage(name))
		}
	}
	for _, i := range plan.Images {
		if len(i.Packages) == 0 {
			lock.Images = append(lock.Images, LockedImage{i.Name, "sha256:" + digits("d")})
		}
	}
	return lock
}

// stageKeys are the keys of all stages. The root hash is that of the root's
// inputs here, as it is in a build, and the bill that the root holds follows
// from the contents.
func stageKeys(t *testing.T, plan layers.Plan, lock Lock, f facts) map[string]string {
	t.Helper()
	r, err := newRecipe(plan, lock, f)
	if err != nil {
		t.Fatal(err)
	}
	r = r.saying(map[string][]byte{"the bill": []byte(r.contents.key())})
	keys := map[string]string{}
	for _, s := range []stageID{r.base, r.tools, r.boot, r.compiler, r.ignition, r.initrd, r.initramfs, r.contents, r.store, r.root, r.diskStage(r.root.key())} {
		keys[s.name] = s.key()
	}
	return keys
}

// changed are the stages whose keys differ, sorted.
func changed(a, b map[string]string) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if a[name] != b[name] {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// complete is a folder with every option there is.
func completeFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../config/testdata/complete")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// leaves are the paths of all values in a document, without the numbers of list
// items, and each one's first value.
func leaves(v any, path string, found map[string]any) {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			leaves(item, strings.TrimPrefix(path+"."+k, "."), found)
		}
	case []any:
		for _, item := range v {
			leaves(item, path, found)
		}
	default:
		if _, known := found[path]; !known {
			found[path] = v
		}
	}
}

// set changes the first value at a path.
func set(v any, path string, value any) {
	for {
		list, ok := v.([]any)
		if !ok {
			break
		}
		if _, ok := list[0].(map[string]any); !ok {
			list[0] = value
			return
		}
		v = list[0]
	}
	m := v.(map[string]any)
	name, rest, more := strings.Cut(path, ".")
	for m[name] == nil && more { // a key with dots
		var part string
		part, rest, more = strings.Cut(rest, ".")
		name += "." + part
	}
	if _, list := m[name].([]any); more || list {
		set(m[name], rest, value)
		return
	}
	m[name] = value
}

// sealedStages hold the layers; nothing else does.
const sealedStages = "disk root"

// otherPackages is what changes with the packages of the image: everything that
// is made with or over the base.
const otherPackages = "base contents disk initramfs root"

// otherImages is what changes with the images of containers.
const otherImages = "contents disk root store"

// options are another value for every option of the complete example, and the
// stages that depend on it.
var options = map[string]struct {
	value any
	want  string
}{
	"name":                                {"other", ""},
	"hostname":                            {"other.example.com", ""},
	"base.slotSize":                       {"2GiB", sealedStages},       // the root tells systemd-repart how large the other slot is
	"base.mirrors":                        {"http://other.example", ""}, // the digests are the same everywhere
	"admin.user":                          {"boss", sealedStages},
	"admin.keys":                          {otherSecurityKey, ""},
	"layers.containers.allow.service":     {"web", sealedStages},
	"layers.containers.allow.what":        {"cap_add=CHOWN", sealedStages},
	"layers.containers.allow.why":         {"another reason", ""},
	"layers.containers.compose":           {"./other.yaml", ""}, // a copy
	"layers.containers.envFile":           {"other.env", sealedStages},
	"layers.containers.images.archive":    {"other", ""}, // the digest in the lock is the same
	"layers.containers.images.image":      {"localhost/web", otherImages},
	"layers.containers.images.packages":   {"busybox", otherImages},
	"layers.containers.profiles":          {"other", ""},
	"layers.custom":                       {"other", sealedStages},
	"layers.fail2ban.banTime":             {"3d", sealedStages},
	"layers.fail2ban.findTime":            {"11h", sealedStages},
	"layers.fail2ban.ignore":              {"203.0.113.0/24", sealedStages},
	"layers.fail2ban.maxRetry":            {6, sealedStages},
	"layers.fail2ban.recidive.banTime":    {"61d", sealedStages},
	"layers.fail2ban.recidive.bans":       {4, sealedStages},
	"layers.fail2ban.recidive.findTime":   {"15d", sealedStages},
	"layers.kernel.allow":                 {"udf", otherPackages}, // it brings modules
	"layers.kernel.ia32":                  {false, "disk"},
	"layers.kernel.lockdown":              {"integrity", "disk"},
	"layers.kernel.without":               {"slab_nomerge", "disk"},
	"layers.nftables.allow.port":          {444, sealedStages},
	"layers.nftables.allow.proto":         {"udp", sealedStages},
	"layers.nftables.allow.why":           {"another reason", sealedStages}, // nft shows it
	"layers.nftables.egress.allow.port":   {444, sealedStages},
	"layers.nftables.egress.allow.proto":  {"udp", sealedStages},
	"layers.nftables.egress.allow.to":     {"203.0.113.0/24", sealedStages},
	"layers.nftables.egress.allow.why":    {"another reason", sealedStages},
	"layers.nftables.ping":                {false, sealedStages},
	"layers.ssh.expose":                   {"tunnel", sealedStages},
	"layers.ssh.maxAuthTries":             {5, sealedStages},
	"layers.ssh.newPerMinute":             {6, sealedStages},
	"layers.ssh.port":                     {2223, sealedStages},
	"layers.ssh.securityKeysOnly":         {false, sealedStages},
	"layers.ssh.userCA":                   {"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP3n5fysqTSD2F59GBq32PWPdQRwN1IviHFzfiRUHI5A authority", ""},
	"layers.ssh.users.keys":               {otherSecurityKey, ""},
	"layers.ssh.users.name":               {"bob", sealedStages},
	"layers.ssh.verifyRequired":           {false, sealedStages},
	"layers.sudo.accounts.commands":       {"/usr/bin/systemctl stop openclaw*", sealedStages},
	"layers.sudo.accounts.name":           {"other", sealedStages},
	"layers.sudo.accounts.uid":            {511, sealedStages},
	"layers.sudo.accounts.why":            {"another reason", sealedStages},
	"layers.sysctl.set.kernel.sysrq":      {"1", sealedStages},
	"layers.time.servers.host":            {"ntp.example.net", sealedStages},
	"layers.time.servers.nts":             {false, sealedStages},
	"layers.vpn.allow.port":               {51414, sealedStages},
	"layers.vpn.allow.proto":              {"tcp", sealedStages},
	"layers.vpn.allow.why":                {"another reason", sealedStages},
	"layers.vpn.dns":                      {"10.64.0.9", sealedStages},
	"layers.vpn.pages.port":               {9094, sealedStages},
	"layers.vpn.pages.target":             {9095, sealedStages},
	"layers.vpn.pages.why":                {"another reason", sealedStages},
	"layers.vpn.services":                 {"app", sealedStages},
	"layers.wireguard.address":            {"10.8.0.3/24", ""},
	"layers.wireguard.address6":           {"fd00:8::3/64", ""},
	"layers.wireguard.dns":                {false, sealedStages},
	"layers.wireguard.endpoint":           {"claw.example.net", ""},
	"layers.wireguard.fullTunnel":         {false, sealedStages},
	"layers.wireguard.listenPort":         {51822, sealedStages},
	"layers.wireguard.mtu":                {1420, ""},
	"layers.wireguard.peers.address":      {"10.8.0.4", ""},
	"layers.wireguard.peers.address6":     {"fd00:8::4", ""},
	"layers.wireguard.peers.keepalive":    {26, ""},
	"layers.wireguard.peers.name":         {"phone", ""},
	"layers.wireguard.peers.presharedKey": {false, ""},
	"layers.wireguard.peers.publicKey":    {"xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", ""},
	"layers.wireguard.peers.verified":     {false, ""},
	"test.keys":                           {"MCowBQYDK2VwAyEAuG9M2C5R1vNSL9CCB70+eSUePc18c5InTDLedk61fls=", ""},
	"test.max_age":                        {"8d", ""},
	"test.require":                        {"standard", ""},
}

// composeEdits are what goes with another value: the compose file names the same
// things.
var composeEdits = map[string][2]string{
	"layers.containers.allow.service": {"  app:", "  web:"},
	"layers.containers.allow.what":    {"NET_BIND_SERVICE", "CHOWN"},
	"layers.containers.images.image":  {"localhost/app", "localhost/web"},
	"layers.containers.profiles":      {"profiles: [web]", "profiles: [other]"},
	"layers.wireguard.address":        {"10.8.0.1:", "10.8.0.3:"},
}

const otherSecurityKey = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIFbBmSCVQglZk6hYmZuCfc+8m2g0doZq1e9EwJ5BQt59AAAABHNzaDo= other"

// Every option changes the stages that depend on it, and no others.
func TestKeysFollowTheOptions(t *testing.T) {
	t.Parallel()
	dir := completeFolder(t)
	if err := os.CopyFS(filepath.Join(dir, "other"), os.DirFS(filepath.Join(dir, "layer"))); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, config.FileName))
	if err != nil {
		t.Fatal(err)
	}
	compose, err := os.ReadFile(filepath.Join(dir, "compose.yaml"))
	if err == nil {
		err = errors.Join(os.WriteFile(filepath.Join(dir, "other.yaml"), compose, 0o644), os.WriteFile(filepath.Join(dir, "other.env"), []byte("PORT=81\n"), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	parse := func() map[string]any {
		var doc map[string]any
		if err := yaml.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	plan := loadPlan(t, dir)
	before := stageKeys(t, plan, lockFor(plan), facts{})
	all := map[string]any{}
	leaves(parse(), "", all)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if path == "base.suite" { // there is one; that of the lock is an input
			continue
		}
		option, known := options[path]
		if !known {
			t.Errorf("%s is a new option: which stages depend on it?", path)
			continue
		}
		doc := parse()
		if path == "layers.containers.images.archive" { // of the other image
			list := doc["layers"].(map[string]any)["containers"].(map[string]any)["images"].([]any)
			list[0], list[1] = list[1], list[0]
		}
		set(doc, path, option.value)
		if path == "layers.ssh.expose" { // what limits the internet goes with it
			delete(doc["layers"].(map[string]any)["ssh"].(map[string]any), "newPerMinute")
		}
		now, err := yaml.Marshal(doc)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, config.FileName), now, 0o644)
		}
		if err == nil {
			now := string(compose)
			if e, edited := composeEdits[path]; edited {
				now = strings.ReplaceAll(now, e[0], e[1])
			}
			err = os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(now), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		loaded, findings, err := config.Load(dir, system.Layer{})
		if err != nil || len(findings) > 0 {
			t.Errorf("%s: %v %v", path, findings, err)
			continue
		}
		if got := changed(before, stageKeys(t, loaded.Plan, lockFor(loaded.Plan), facts{})); got != option.want {
			t.Errorf("%s changes %q, want %q", path, got, option.want)
		}
	}
}

// edit replaces a text of a file in a folder.
func edit(t *testing.T, dir, file, old, new string) {
	t.Helper()
	file = filepath.Join(dir, file)
	b, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(b), old) {
		t.Fatalf("%q is not in %s (%v)", old, file, err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(b), old, new, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Every file of a folder, and what of it is of no importance.
func TestKeysFollowTheFiles(t *testing.T) {
	t.Parallel()
	// The layer has a file of its own.
	folder := func() string {
		dir := completeFolder(t)
		if err := os.Mkdir(filepath.Join(dir, "layer", "files"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "layer", "files", "a"), []byte("content"), 0o644); err != nil {
			t.Fatal(err)
		}
		edit(t, dir, "layer/config.bu", "contents: {inline: a}", "contents: {local: a}")
		return dir
	}
	plan := loadPlan(t, folder())
	before := stageKeys(t, plan, lockFor(plan), facts{})
	for _, tc := range []struct{ name, file, old, new, want string }{
		{"a comment", config.FileName, "# Every option", "# Each option", ""},
		{"blanks", config.FileName, "  sysctl:\n", "\n  sysctl:\n", ""},
		{"the same in other words", config.FileName, "1GiB", "1024MiB", ""},
		{"a layer's check", "layer/checks.yaml", "title: the service runs", "title: it runs", ""},
		{"a layer's file", "layer/files/a", "content", "other content", sealedStages},
		{"a layer's mode", "layer/config.bu", "mode: 0644", "mode: 0600", sealedStages},
		{"a layer's unit", "layer/config.bu", "sleep infinity", "sleep 5", sealedStages},
		{"a layer's port", "layer/layer.yaml", "port: 8080", "port: 8081", sealedStages},
		{"a layer's validator", "layer/layer.yaml", "/usr/bin/test, -e", "/usr/bin/test, -s", sealedStages},
		{"a layer's state", "layer/layer.yaml", "mode: 0755, exec: true", "mode: 0700, exec: true", sealedStages},
		{"a layer's package", "layer/layer.yaml", "ports:", "packages: [zsh]\nports:", otherPackages},
		{"a layer without packages less", config.FileName, "  sysctl:\n    set: {kernel.sysrq: \"0\"}\n", "", sealedStages},
		{"a layer with packages less", config.FileName, "  time: {servers: [{host: ntp.example.com, nts: true}]}\n", "", otherPackages},
	} {
		dir := folder()
		edit(t, dir, tc.file, tc.old, tc.new)
		plan := loadPlan(t, dir)
		if got := changed(before, stageKeys(t, plan, lockFor(plan), facts{})); got != tc.want {
			t.Errorf("%s changes %q, want %q", tc.name, got, tc.want)
		}
	}
}

// The lock and what is neither in it nor in the folder.
func TestKeysFollowTheLock(t *testing.T) {
	t.Parallel()
	plan := loadPlan(t, completeFolder(t))
	before := stageKeys(t, plan, lockFor(plan), facts{})
	newer := func(tree Tree) func(*Lock, *facts) {
		return func(l *Lock, _ *facts) { l.Trees[tree][0].SHA256 = digits("f") }
	}
	newerGRUB := func(l *Lock, _ *facts) {
		tools := l.Trees[TreeTools]
		tools[slices.IndexFunc(tools, func(p Package) bool { return p.Name == "grub-efi-amd64-bin" })].SHA256 = digits("f")
	}
	for name, tc := range map[string]struct {
		change func(*Lock, *facts)
		want   string
	}{
		"a package of the image":  {newer(TreeImage), otherPackages},
		"a tool":                  {newer(TreeTools), "boot disk root tools"},
		"the boot loader":         {newerGRUB, "boot contents disk root tools"}, // the image lists it
		"a package of the initrd": {newer(TreeInitrd), "contents disk initramfs initrd root"},
		// What it makes is in the lock by its digest: nothing else depends on it.
		"the compiler":        {newer(TreeCompiler), "compiler ignition"},
		"an audit tool":       {newer(TreeAudit), ""},
		"Ignition":            {func(l *Lock, _ *facts) { l.Ignition = digits("f") }, "contents disk ignition initramfs root"},
		"the clock":           {func(l *Lock, _ *facts) { l.Epoch++ }, otherPackages + " store"},
		"the suite":           {func(l *Lock, _ *facts) { l.Suite = "forky" }, otherPackages},
		"an account":          {func(l *Lock, _ *facts) { l.Accounts.Passwd = append(l.Accounts.Passwd, "x:x:9:9::/:/bin/sh") }, otherPackages},
		"a group":             {func(l *Lock, _ *facts) { l.Accounts.Group[0] += "x" }, otherPackages},
		"the mirror":          {func(l *Lock, _ *facts) { l.Mirror = "http://mirror.example" }, ""},
		"the names asked for": {func(l *Lock, _ *facts) { l.Requested = nil }, ""},
		"a package's path":    {func(l *Lock, _ *facts) { l.Trees[TreeImage][0].Path = "debian/x.deb" }, ""},
		"the agent":           {func(_ *Lock, f *facts) { f.agent = digits("f") }, "contents disk initramfs root"},
		"the compression":     {func(_ *Lock, f *facts) { f.compression = SmallCompression }, sealedStages},
	} {
		lock, f := lockFor(plan), facts{}
		tc.change(&lock, &f)
		if got := changed(before, stageKeys(t, plan, lock, f)); got != tc.want {
			t.Errorf("%s changes %q, want %q", name, got, tc.want)
		}
	}
}
