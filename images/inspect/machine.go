package inspect

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// User is an account.
type User struct {
	Name     string `json:"name"`
	UID      int    `json:"uid"`
	GID      int    `json:"gid"`
	Home     string `json:"home"`
	Shell    string `json:"shell"`
	Password string `json:"password"` // none (no login by one), set, or empty (anybody may log in)
}

// Group is a group and who is in it besides those who have it as their own.
type Group struct {
	Name    string   `json:"name"`
	GID     int      `json:"gid"`
	Members []string `json:"members,omitempty"`
}

// readUsers joins passwd(5) and shadow(5).
func readUsers(passwd, shadow string) ([]User, error) {
	passwords := map[string]string{}
	for _, line := range lines(shadow) {
		if f := strings.Split(line, ":"); len(f) > 1 {
			passwords[f[0]] = f[1]
		}
	}
	list := []User{}
	for _, line := range lines(passwd) {
		f := strings.Split(line, ":")
		if len(f) != 7 {
			return nil, fmt.Errorf("/etc/passwd has a line of %d fields: %.80q", len(f), line)
		}
		uid, err := strconv.Atoi(f[2])
		gid, err2 := strconv.Atoi(f[3])
		if err := cmp.Or(err, err2); err != nil {
			return nil, fmt.Errorf("/etc/passwd: %w", err)
		}
		password := f[1]
		if hash, ok := passwords[f[0]]; ok && password == "x" {
			password = hash
		}
		list = append(list, User{f[0], uid, gid, f[5], f[6], passwordState(password)})
	}
	return list, nil
}

// passwordState says what a hash allows: "*", "!" and what else crypt(3) never
// makes allow nothing.
func passwordState(hash string) string {
	switch {
	case hash == "":
		return "empty"
	case hash[0] == '$' || hash[0] == '_' || regexp.MustCompile(`^[./0-9A-Za-z]{13}$`).MatchString(hash):
		return "set"
	}
	return "none"
}

func readGroups(text string) ([]Group, error) {
	list := []Group{}
	for _, line := range lines(text) {
		f := strings.Split(line, ":")
		if len(f) != 4 {
			return nil, fmt.Errorf("/etc/group has a line of %d fields: %.80q", len(f), line)
		}
		gid, err := strconv.Atoi(f[2])
		if err != nil {
			return nil, fmt.Errorf("/etc/group: %w", err)
		}
		g := Group{Name: f[0], GID: gid}
		if f[3] != "" {
			g.Members = strings.Split(f[3], ",")
		}
		list = append(list, g)
	}
	return list, nil
}

// Unit is a systemd unit that /etc says something about.
type Unit struct {
	Name  string `json:"name"`
	State string `json:"state"` // enabled, masked, or present (something else must start it)
	// By is what starts an enabled one: targets, or the names that it answers to.
	By      []string `json:"by,omitempty"`
	Own     bool     `json:"own,omitempty"`     // its file is in /etc and not a package's
	Dropins []string `json:"dropins,omitempty"` // that change it
}

// readUnits reads the links and folders of /etc/systemd/system.
func readUnits(files []File) []Unit {
	units := map[string]*Unit{}
	unit := func(name string) *Unit {
		if units[name] == nil {
			units[name] = &Unit{Name: name, State: "present"}
		}
		return units[name]
	}
	for _, f := range files {
		rest, ok := strings.CutPrefix(f.Path, etcUnits+"/")
		if !ok || f.Type == "directory" {
			continue
		}
		folder, name := path.Split(rest)
		by, isWant := strings.CutSuffix(strings.TrimSuffix(folder, "/"), ".wants")
		if !isWant {
			by, isWant = strings.CutSuffix(strings.TrimSuffix(folder, "/"), ".requires")
		}
		switch {
		case isWant:
			u := unit(name)
			u.State, u.By = "enabled", append(u.By, by)
		case strings.HasSuffix(folder, ".d/"):
			u := unit(strings.TrimSuffix(folder, ".d/"))
			u.Dropins = append(u.Dropins, name)
		case folder != "":
		case f.Type == "link" && f.Target == "/dev/null":
			unit(name).State = "masked"
		case f.Type == "link":
			u := unit(path.Base(f.Target))
			u.State, u.By = "enabled", append(u.By, name)
		default:
			unit(name).Own = true
		}
	}
	list := []Unit{}
	for _, name := range slices.Sorted(maps.Keys(units)) {
		slices.Sort(units[name].By)
		list = append(list, *units[name])
	}
	return list
}

// Socket is an enabled socket unit and what it listens on, the last after an empty
// value.
type Socket struct {
	Unit   string   `json:"unit"`
	Listen []string `json:"listen"` // such as "stream 22", "datagram 69", "fifo /run/x"
}

var listens = regexp.MustCompile(`^Listen(Stream|Datagram|SequentialPacket|FIFO|Netlink|MessageQueue|Special)\s*=\s*(.*)$`)

// packaged is a socket unit that packages enable, without a word in /etc.
var packaged = regexp.MustCompile(`^` + usrUnits + `/[^/]+\.(?:wants|requires)/([^/]+\.socket)$`)

// readSockets reads the units that /etc enables, and those that packages do and
// /etc does not mask.
func readSockets(files []File, units []Unit, kept texts) []Socket {
	enabled := map[string]bool{}
	for _, f := range files {
		if m := packaged.FindStringSubmatch(f.Path); m != nil {
			enabled[m[1]] = true
		}
	}
	for _, u := range units {
		if strings.HasSuffix(u.Name, ".socket") && u.State != "present" {
			enabled[u.Name] = u.State == "enabled"
		}
	}
	list := []Socket{}
	for _, name := range slices.Sorted(maps.Keys(enabled)) {
		if !enabled[name] {
			continue
		}
		s := Socket{Unit: name, Listen: []string{}}
		for _, line := range lines(unitText(name, kept)) {
			m := listens.FindStringSubmatch(line)
			switch {
			case m == nil:
			case m[2] == "":
				s.Listen = []string{}
			default:
				s.Listen = append(s.Listen, strings.ToLower(m[1])+" "+m[2])
			}
		}
		list = append(list, s)
	}
	return list
}

// unitText follows systemd.unit(5): a file in /etc wins over the package's of the
// same name, drop-ins come after the unit by their names.
func unitText(name string, kept texts) string {
	dropins := map[string][]byte{}
	for _, folder := range []string{usrUnits, etcUnits} {
		for file, text := range kept {
			if path.Dir(file) == folder+"/"+name+".d" {
				dropins[path.Base(file)] = text
			}
		}
	}
	all := [][]byte{kept[usrUnits+"/"+name]}
	if text, ok := kept[etcUnits+"/"+name]; ok {
		all[0] = text
	}
	for _, d := range slices.Sorted(maps.Keys(dropins)) {
		all = append(all, dropins[d])
	}
	return string(bytes.Join(all, []byte("\n")))
}

// Port is a port that the firewall opens.
type Port struct {
	Proto string `json:"proto"`
	Port  string `json:"port"` // a number, or what else the ruleset has there
	From  string `json:"from"` // internet or wireguard
	Why   string `json:"why"`
}

var (
	chainLine  = regexp.MustCompile(`^chain (\S+) \{$`)
	acceptLine = regexp.MustCompile(`\b(tcp|udp) dport (\{[^}]*\}|\S+) .*?\baccept(?: comment "([^"]*)")?`)
)

// readPorts reads the two chains of the ruleset that open ports, as the layer
// nftables writes them. Where there is no ruleset, nothing is closed.
func readPorts(text []byte) []Port {
	if text == nil {
		return []Port{{"any", "port", "internet", "there is no " + ruleset}}
	}
	list := []Port{}
	from := ""
	for _, line := range lines(string(text)) {
		if m := chainLine.FindStringSubmatch(line); m != nil {
			from = map[string]string{"from_internet": "internet", "from_tunnel": "wireguard"}[m[1]]
		}
		if m := acceptLine.FindStringSubmatch(line); m != nil && from != "" {
			list = append(list, Port{m[1], m[2], from, m[3]})
		}
	}
	return list
}
