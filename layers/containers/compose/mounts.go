package compose

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"ingot/config/document"
	"ingot/layers"
)

// mounts are folders of state, files of the sealed root, memory, and secrets.
func (s service) mounts() {
	var targets []string
	once := func(target string, at []any) bool {
		clean := path.Clean(target)
		switch {
		case !path.IsAbs(target) || strings.ContainsAny(target, ":,") || !s.line(target, at...):
			s.wrong(fmt.Sprintf("%q is not a place in the container", clip(target)), "write an absolute path without colons and commas", at...)
		case slices.Contains(targets, clean):
			s.wrong(fmt.Sprintf("something is at %s already", clip(clean)), "keep one of the two", at...)
		default:
			targets = append(targets, clean)
			return true
		}
		return false
	}
	if chain := s.project.chain(s.Name); len(chain) == 1 && chain[0].items("volumes") > len(s.Volumes) {
		s.wrong("two volumes are at one place, of which Compose drops one", "give them different places, or keep one of the two", "volumes")
	}
	for _, v := range s.Volumes {
		if at := s.project.item(s.Name, "volumes", v.Target); once(v.Target, at) {
			s.volume(v, at)
		}
	}
	for _, m := range s.Tmpfs {
		target, _, _ := strings.Cut(m, ":")
		at := s.project.item(s.Name, "tmpfs", m)
		if strings.Count(m, ":") > 1 || !s.line(m, at...) {
			s.wrong(fmt.Sprintf("%q is not a path with options", clip(m)), "write one such as /tmp:size=64m,mode=1777", at...)
		} else if once(target, at) {
			s.container("Tmpfs", m)
		}
	}
	for _, c := range s.Configs {
		at := s.project.item(s.Name, "configs", c.Source)
		target := cmp.Or(c.Target, "/"+c.Source)
		if once(target, at) {
			if file, ok := s.config(c.Source, at); ok {
				s.container("Volume", file+":"+target+":ro")
			}
		}
	}
	for _, c := range s.Secrets {
		at := s.project.item(s.Name, "secrets", c.Source)
		target := cmp.Or(c.Target, c.Source)
		if !path.IsAbs(target) {
			target = "/run/secrets/" + target
		}
		if once(target, at) {
			if slot, ok := s.secret(c.Source, at); ok {
				s.container("Volume", slot+":"+target+":ro")
			}
		}
	}
}

// folderShape is a name that needs no quoting anywhere.
const folderShape = `^[A-Za-z0-9][A-Za-z0-9_.-]*$`

func (s service) volume(v types.ServiceVolumeConfig, at []any) {
	switch v.Type {
	case types.VolumeTypeVolume:
		s.named(v, at)
	case types.VolumeTypeBind:
		s.bind(v, at)
	case types.VolumeTypeTmpfs:
		options := []string{}
		if v.Tmpfs != nil && v.Tmpfs.Size > 0 {
			options = append(options, "size="+strconv.FormatInt(int64(v.Tmpfs.Size), 10))
		}
		if v.Tmpfs != nil && v.Tmpfs.Mode > 0 {
			options = append(options, "mode="+strconv.FormatUint(uint64(v.Tmpfs.Mode), 8))
		}
		s.container("Tmpfs", strings.TrimSuffix(v.Target+":"+strings.Join(options, ","), ":"))
	case types.VolumeTypeImage:
		s.wrong("Podman mounts no images of a store that is read-only, as the sealed root is", "put the files beside the compose file, and mount them from there with read_only: true", at...)
	default:
		s.wrong(fmt.Sprintf("there are no mounts of type %q", clip(v.Type)), "use volume, bind or tmpfs", at...)
	}
}

func (s service) named(v types.ServiceVolumeConfig, at []any) {
	if v.Source == "" {
		s.wrong("a volume without a name is lost with the container", fmt.Sprintf("give it a name, such as data:%s, and list data below volumes; or use tmpfs", v.Target), at...)
		return
	}
	if !regexp.MustCompile(folderShape).MatchString(v.Source) {
		s.wrong(fmt.Sprintf("%q cannot be the name of a folder", clip(v.Source)), "use letters, digits, dots, dashes and underscores", at...)
		return
	}
	folder := path.Join(volumesDir, v.Source)
	s.state(folder, "the volume "+v.Source+" of the containers")
	if v.Volume != nil && v.Volume.Subpath != "" {
		below, ok := local(v.Volume.Subpath)
		if !ok {
			s.wrong(fmt.Sprintf("%q leads out of the volume", clip(v.Volume.Subpath)), "name a folder in the volume", at...)
			return
		}
		folder = path.Join(folder, below)
		s.state(folder, "a folder in the volume "+v.Source+" of the containers")
	}
	s.writable(folder, v, at)
}

// state declares a folder, which belongs to the container's account where that
// has a number. Its owners on the disk are those in the container (idmap).
func (s service) state(folder, why string) {
	st := layers.State{Path: folder, Mode: 0o755, Why: why}
	user, group, _ := strings.Cut(s.User, ":")
	if number := regexp.MustCompile(`^[0-9]+$`); number.MatchString(user) && user != "0" {
		st.User, st.Mode = user, 0o750
		st.Group = user
		if number.MatchString(group) {
			st.Group = group
		}
	}
	if known, ok := s.folders[folder]; !ok || known.User == "" {
		s.folders[folder] = st
	}
}

func (s service) writable(folder string, v types.ServiceVolumeConfig, at []any) {
	if !s.line(folder, at...) {
		return
	}
	options := []string{}
	if v.ReadOnly {
		options = append(options, "ro")
	}
	// Without it a folder would belong to whatever range the container got at its
	// last start.
	if s.UserNSMode == "" {
		options = append(options, "idmap")
	}
	s.container("Volume", strings.TrimSuffix(folder+":"+v.Target+":"+strings.Join(options, ","), ":"))
}

func (s service) bind(v types.ServiceVolumeConfig, at []any) {
	if path.IsAbs(v.Source) {
		s.absolute(v, at)
		return
	}
	name, ok := local(v.Source)
	if !ok {
		s.wrong(fmt.Sprintf("%q is not in the compose file's folder", clip(v.Source)), "copy it into the folder and mount it read-only, or use a volume", at...)
		return
	}
	if v.ReadOnly {
		if file, ok := s.bake(name, at); ok {
			s.container("Volume", file+":"+v.Target+":ro")
		}
		return
	}
	// What is written at run time: a folder of state of the same name. What is in
	// it here would not be there.
	if full, err := s.occupied(name); full || err != nil {
		s.wrong(fmt.Sprintf("%q is written to, and what is in it here cannot come along: the sealed root is read-only", clip(name)),
			fmt.Sprintf("mount it read-only with :ro, or use a volume, data:%s, which begins empty", v.Target), at...)
		return
	}
	for part := range strings.SplitSeq(name, "/") {
		if !regexp.MustCompile(folderShape).MatchString(part) {
			s.wrong(fmt.Sprintf("%q cannot be the name of a folder", clip(name)), "use letters, digits, dots, dashes and underscores", at...)
			return
		}
	}
	folder := path.Join(foldersDir, name)
	s.state(folder, "what the compose file calls ./"+name)
	s.writable(folder, v, at)
}

// occupied reports whether there is something at a path beside the compose
// file.
func (s service) occupied(name string) (bool, error) {
	f, err := s.project.root.Open(filepath.FromSlash(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.IsDir() {
		return true, err
	}
	names, _ := f.Readdirnames(1)
	return len(names) > 0, nil
}

// closed are places that a container gets no part of, not even to read: who is
// root on the machine is decided there.
var closed = []string{"/", "/run", "/var", "/var/run", "/proc", "/sys", "/dev", "/etc", "/etc/ingot", "/root", "/home", "/boot", "/var/lib", "/var/lib/ingot", "/var/lib/containers"}

func (s service) absolute(v types.ServiceVolumeConfig, at []any) {
	source := path.Clean(v.Source)
	under := func(folder string) bool { return source == folder || strings.HasPrefix(source, folder+"/") }
	ours := strings.HasPrefix(source, StateDir+"/")
	switch {
	case !s.line(source, at...) || strings.ContainsAny(source, ":,"):
		s.wrong(fmt.Sprintf("%q is not a path that can be mounted", clip(source)), "write it without colons and commas", at...)
	case strings.HasSuffix(source, ".sock") && (under("/run") || under("/var/run")):
		s.wrong(fmt.Sprintf("%s lends the machine out: there is no daemon here whose socket a container gets", clip(source)), "remove it", at...)
	case ours:
		s.state(source, "a folder of the containers")
		s.writable(source, v, at)
	case slices.Contains(closed, source) || under("/etc/ingot") || under("/var/lib/ingot") || under("/proc") || under("/sys") || under("/dev") || under("/run") || under("/var/run") || under("/var/lib/containers") || under("/root") || under("/var/roothome"):
		s.wrong(fmt.Sprintf("%s is the machine's own", clip(source)), "use a volume, or a folder below "+StateDir, at...)
	case v.ReadOnly:
		s.container("Volume", source+":"+v.Target+":ro")
	case !under("/var"):
		s.wrong(fmt.Sprintf("nothing can be written to %s: the root is sealed", clip(source)), "use a volume, a folder below "+StateDir+", or mount it read-only with :ro", at...)
	default:
		if s.allowed("volumes="+source, fmt.Sprintf("%s is outside of the containers' folders", clip(source)), "use a volume, or a folder below "+StateDir, at...) {
			s.state(source, "the container "+s.Name+" writes to it")
			s.writable(source, v, at)
		}
	}
}

// bake puts a file or a folder beside the compose file into the sealed root and
// returns where.
func (s service) bake(name string, at []any) (string, bool) {
	name, ok := local(name)
	if !ok {
		s.wrong(fmt.Sprintf("%q is not in the compose file's folder", clip(name)), "copy it into the folder", at...)
		return "", false
	}
	target := path.Join(BakedDir, name)
	if !s.line(target, at...) || strings.ContainsAny(target, ":, ") {
		s.wrong(fmt.Sprintf("%q cannot be mounted", clip(name)), "rename it without blanks, colons and commas", at...)
		return "", false
	}
	problem := s.copyTree(name)
	if problem == nil {
		return target, true
	}
	advice := "put the file there, or use a volume"
	if errors.Is(problem, errTooMuch) {
		advice = "put large files into the container's image"
	}
	s.wrong(fmt.Sprintf("%q cannot be put into the sealed root: %v", clip(name), document.Cause(problem)), advice, at...)
	return "", false
}

var errTooMuch = fmt.Errorf("the compose file's files are larger than %d MiB, or more than 1000", maxBytes>>20)

// copyTree bakes a file, or all regular files of a folder.
func (s service) copyTree(name string) error {
	info, err := s.project.root.Stat(filepath.FromSlash(name))
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return s.copyFile(name)
	}
	folder, err := s.project.root.Open(filepath.FromSlash(name))
	if err != nil {
		return err
	}
	defer folder.Close()
	entries, err := folder.ReadDir(-1)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		below := path.Join(name, e.Name())
		if !regexp.MustCompile(`^[A-Za-z0-9_.@+-]+$`).MatchString(e.Name()) {
			return fmt.Errorf("the name %q is not of letters, digits and _.@+-", clip(below))
		}
		if e.Type()&fs.ModeSymlink != 0 {
			return fmt.Errorf("%s is a link", below) // a folder could hold itself
		}
		if err := s.copyTree(below); err != nil {
			return err
		}
	}
	return nil
}

func (s service) copyFile(name string) error {
	target := path.Join(BakedDir, name)
	if _, done := s.baked[target]; done {
		return nil
	}
	if len(s.baked) >= 1000 || s.project.left <= 0 {
		return errTooMuch
	}
	data, err := document.ReadFile(s.project.root, filepath.FromSlash(name), s.project.left+1)
	if err != nil {
		return err
	}
	if s.project.left -= int64(len(data)); s.project.left < 0 {
		return errTooMuch
	}
	s.project.inputs = append(s.project.inputs, Input{name, data})
	s.baked[target] = File{target, string(data), "the compose file's ./" + name}
	return nil
}

// config bakes a config and returns where.
func (s service) config(name string, at []any) (string, bool) {
	c, ok := s.project.Model.Configs[name]
	if !ok || !regexp.MustCompile(folderShape).MatchString(name) {
		s.wrong(fmt.Sprintf("there is no config %q", clip(name)), "describe it below configs", at...)
		return "", false
	}
	if c.File != "" {
		return s.bake(c.File, at)
	}
	content := c.Content
	if c.Environment != "" {
		value, known := s.project.lookup(c.Environment)
		if !known {
			s.wrong(fmt.Sprintf("nothing says what the variable %s is", clip(c.Environment)), "give the config's content, or a file of variables", at...)
			return "", false
		}
		content = value
	}
	target := path.Join(BakedDir, ".configs", name)
	s.baked[target] = File{target, content, "the config " + name + " of the containers"}
	return target, true
}

// secret declares a slot and returns where its value is on the machine.
func (s service) secret(name string, at []any) (string, bool) {
	if !regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$`).MatchString(name) {
		s.wrong(fmt.Sprintf("%q cannot be the name of a secret slot", clip(name)), "use up to 63 lower-case letters, digits, dashes and underscores", at...)
		return "", false
	}
	slot := layers.SecretSlot{Name: SecretPrefix + name, Path: path.Join(SecretsDir, name), Why: "the secret " + name + " of the containers"}
	if !slices.ContainsFunc(s.out.Secrets, func(other layers.SecretSlot) bool { return other.Name == slot.Name }) {
		s.out.Secrets = append(s.out.Secrets, slot)
		slices.SortFunc(s.out.Secrets, func(a, b layers.SecretSlot) int { return strings.Compare(a.Name, b.Name) })
	}
	return slot.Path, true
}
