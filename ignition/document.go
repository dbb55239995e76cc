package ignition

import "ingot/layers"

// The types are Butane's specification (fcos 1.7.0) key for key, as far as a
// plan goes. Butane's own cannot be written: every key that is not set would
// come out as null, and some contents would not come back.

type document struct {
	Variant         string           `yaml:"variant"`
	Version         string           `yaml:"version"`
	KernelArguments *kernelArguments `yaml:"kernel_arguments,omitempty"`
	Passwd          passwd           `yaml:"passwd,omitempty"`
	Storage         storage          `yaml:"storage,omitempty"`
	Systemd         systemd          `yaml:"systemd,omitempty"`
}

type kernelArguments struct {
	ShouldExist []string `yaml:"should_exist"`
}

type passwd struct {
	Groups []group `yaml:"groups,omitempty"`
	Users  []user  `yaml:"users,omitempty"`
}

type group struct {
	Name   string `yaml:"name"`
	GID    int    `yaml:"gid,omitempty"`
	System bool   `yaml:"system,omitempty"`
}

type user struct {
	Name         string   `yaml:"name"`
	UID          int      `yaml:"uid,omitempty"`
	PrimaryGroup string   `yaml:"primary_group,omitempty"`
	Groups       []string `yaml:"groups,omitempty"`
	HomeDir      string   `yaml:"home_dir,omitempty"`
	NoCreateHome bool     `yaml:"no_create_home,omitempty"`
	Shell        string   `yaml:"shell,omitempty"`
	Gecos        string   `yaml:"gecos,omitempty"`
	System       bool     `yaml:"system,omitempty"`
}

type storage struct {
	Directories []directory `yaml:"directories,omitempty"`
	Files       []file      `yaml:"files,omitempty"`
	Links       []link      `yaml:"links,omitempty"`
}

type directory struct {
	Path  string `yaml:"path"`
	Mode  octal  `yaml:"mode"`
	User  owner  `yaml:"user"`
	Group owner  `yaml:"group"`
}

type file struct {
	Path      string   `yaml:"path"`
	Overwrite bool     `yaml:"overwrite"`
	Mode      octal    `yaml:"mode"`
	User      owner    `yaml:"user"`
	Group     owner    `yaml:"group"`
	Contents  contents `yaml:"contents"`
}

type contents struct {
	Inline text `yaml:"inline"`
}

type link struct {
	Path      string `yaml:"path"`
	Overwrite bool   `yaml:"overwrite"`
	Target    string `yaml:"target"`
	User      owner  `yaml:"user"`
	Group     owner  `yaml:"group"`
}

type owner struct {
	ID   *int   `yaml:"id,omitempty"`
	Name string `yaml:"name,omitempty"`
}

type systemd struct {
	Units []unit `yaml:"units,omitempty"`
}

type unit struct {
	Name     string   `yaml:"name"`
	Enabled  *bool    `yaml:"enabled,omitempty"`
	Mask     bool     `yaml:"mask,omitempty"`
	Contents text     `yaml:"contents,omitempty"`
	Dropins  []dropin `yaml:"dropins,omitempty"`
}

type dropin struct {
	Name     string `yaml:"name"`
	Contents text   `yaml:"contents"`
}

func documentOf(f layers.Fragment) document {
	d := document{
		Variant: variant,
		Version: version,
		Passwd:  passwd{Groups: convert(f.Groups, groupOf), Users: convert(f.Users, userOf)},
		Storage: storage{
			Directories: convert(f.Directories, directoryOf),
			Files:       convert(f.Files, fileOf),
			Links:       convert(f.Links, linkOf),
		},
		Systemd: systemd{Units: convert(f.Units, unitOf)},
	}
	if len(f.KernelArguments) > 0 {
		d.KernelArguments = &kernelArguments{ShouldExist: f.KernelArguments}
	}
	return d
}

// Overwriting removes what is there, with all it holds, so it is for files and
// links only: a directory that packages use is kept and gets owner and mode.

func fileOf(f layers.File) file {
	return file{
		Path: f.Path, Overwrite: true, Mode: octal(f.Mode), User: ownerOf(f.User), Group: ownerOf(f.Group),
		Contents: contents{Inline: text(f.Contents)},
	}
}

func directoryOf(d layers.Directory) directory {
	return directory{Path: d.Path, Mode: octal(d.Mode), User: ownerOf(d.User), Group: ownerOf(d.Group)}
}

// linkOf names root as the owner: without one, Ignition gives a link the owner
// of what it leads to, and that of /dev/null depends on who builds.
func linkOf(l layers.Link) link {
	return link{Path: l.Path, Overwrite: true, Target: l.Target, User: ownerOf(""), Group: ownerOf("")}
}

// ownerOf names root by its number: that needs no look-up in the tree, and
// leaving it out would keep the owner of a directory that is there.
func ownerOf(name string) owner {
	if name == "" || name == "root" {
		return owner{ID: new(0)}
	}
	return owner{Name: name}
}

func groupOf(g layers.Group) group { return group(g) }

// userOf never makes a home: it would be under /var, which is state and made
// at boot from the plan's list.
func userOf(u layers.User) user {
	return user{
		Name: u.Name, UID: u.UID, PrimaryGroup: u.Group, Groups: u.Groups, HomeDir: u.Home,
		NoCreateHome: true, Shell: u.Shell, Gecos: u.Gecos, System: u.System,
	}
}

func unitOf(u layers.Unit) unit {
	return unit{
		Name: u.Name, Enabled: u.Enabled, Mask: u.Mask, Contents: text(u.Contents),
		Dropins: convert(u.Dropins, func(d layers.Dropin) dropin { return dropin{Name: d.Name, Contents: text(d.Contents)} }),
	}
}

func convert[From, To any](list []From, to func(From) To) []To {
	var out []To
	for _, v := range list {
		out = append(out, to(v))
	}
	return out
}
