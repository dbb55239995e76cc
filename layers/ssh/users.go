package ssh

import (
	"fmt"
	"hash/fnv"
	"path"

	"ingot/layers"
	"ingot/layers/admin"
)

// User is one more person who may log in: no password, no sudo.
type User struct {
	// Name is the account's; also the principal that a certificate must name.
	Name string `yaml:"name" ingot:"required"`
	// Keys are lines of .pub files. They may be left out when there is a userCA.
	Keys []string `yaml:"keys" ingot:"instance"`
}

// KeyAdvice implements the decoder's interface of that name.
func (User) KeyAdvice(key string) (message, advice string) {
	switch key {
	case "password":
		return "accounts have no passwords", "remove it; people log in with one of keys"
	case "sudo", "admin":
		return fmt.Sprintf("unknown key %q", key), "these users are not administrators: only admin.user is"
	}
	return "", ""
}

// Numbers of the accounts: within Debian's range for people (1000 to 59999,
// adduser.conf), behind what is numbered by hand.
const (
	minUID = 20000
	maxUID = 59999
)

// uid is derived from the name: /var outlives images, so the number must not
// move when another user comes or goes.
func (u User) uid() int {
	h := fnv.New32a()
	h.Write([]byte(u.Name))
	return minUID + int(h.Sum32()%(maxUID-minUID+1))
}

func (l Layer) validateUsers(site layers.Site) []layers.Finding {
	var findings []layers.Finding
	report := func(i int, key, message, advice string) {
		findings = append(findings, layers.Finding{Path: []any{"users", i, key}, Message: message, Advice: advice})
	}
	names, numbers := map[string]int{}, map[int]int{}
	for i, u := range l.Options.Users {
		first, twice := names[u.Name]
		same, clash := numbers[u.uid()]
		names[u.Name], numbers[u.uid()] = i, i
		message, advice := admin.NameProblem(u.Name)
		switch {
		case message != "":
			report(i, "name", message, advice)
		case u.Name == site.Admin.User:
			report(i, "name", fmt.Sprintf("%s is the administrator, who may log in already", u.Name), "put the keys into admin.keys")
		case twice:
			report(i, "name", fmt.Sprintf("users[%d] has the same name", first), "put all keys of a person into one list")
		case clash:
			report(i, "name", fmt.Sprintf("this name leads to the same user number as that of users[%d]", same), "choose another name")
		}
		if len(u.Keys) == 0 && len(l.Options.UserCA) == 0 {
			findings = append(findings, layers.Finding{
				Path: []any{"users", i, "keys"}, Missing: true, Message: "this user could not log in: there is no key",
				Advice: "add the line of a .pub file to keys, or a userCA",
			})
		}
		findings = append(findings, admin.KeyFindings(u.Keys, l.Options.SecurityKeysOnly, "users", i, "keys")...)
	}
	return findings
}

// names are all who may log in, the administrator first: never empty.
func (l Layer) names(site layers.Site) []string {
	names := []string{site.Admin.User}
	for _, u := range l.Options.Users {
		names = append(names, u.Name)
	}
	return names
}

func keysPath(user string) string { return path.Join(AuthorizedKeysDir, user) }

// addUsers contributes the accounts and their keys.
func (l Layer) addUsers(c *layers.Contribution) {
	for i, u := range l.Options.Users {
		option := []any{"users", i}
		c.Image.Groups = append(c.Image.Groups, layers.Group{Name: u.Name, GID: u.uid()})
		c.Image.Users = append(c.Image.Users, layers.User{
			Name: u.Name, UID: u.uid(), Group: u.Name, Home: "/home/" + u.Name, Shell: "/bin/bash",
		})
		c.State = append(c.State, layers.State{
			Path: "/var/home/" + u.Name, User: u.Name, Group: u.Name, Mode: 0o700, Why: "the files of " + u.Name + "; /home leads here",
		})
		c.Identity = append(c.Identity, keysPath(u.Name))
		if len(u.Keys) > 0 {
			c.Instance.Files = append(c.Instance.Files, layers.File{
				Path: keysPath(u.Name), Mode: 0o644, Contents: admin.AuthorizedKeys(u.Keys), Option: option, Why: "the keys of " + u.Name,
			})
		}
		c.Checks = append(c.Checks, userChecks(u)...)
	}
}
