package custom

import (
	"fmt"
	"slices"

	"ingot/layers"
)

// sshCheck looks at one or more lists of what sshd offers, or tries one login.
type sshCheck struct {
	// Kex are the key exchanges; those that only signal an extension do not count
	// for exactly.
	Kex *names `yaml:"kex"`
	// HostKeys are the algorithms of host keys.
	HostKeys *names `yaml:"hostKeys"`
	// Ciphers are those of either direction.
	Ciphers *names `yaml:"ciphers"`
	// MACs are those of either direction.
	MACs *names `yaml:"macs"`
	// Methods are the ways to log in that sshd names to a user.
	Methods *names `yaml:"methods"`
	// User is whose methods are asked for, the administrator by default.
	User string `yaml:"user"`
	// Login tries to log in.
	Login *login `yaml:"login"`
}

// KeyAdvice implements the decoder's interface of that name.
func (sshCheck) KeyAdvice(key string) (message, advice string) {
	switch key {
	case "exactly", "offers", "refuses", "algorithms":
		return fmt.Sprintf("unknown key %q", key), "say which list it is about, such as ciphers: {refuses: [3des-cbc]}"
	case "method", "refused", "password", "publickey":
		return fmt.Sprintf("unknown key %q", key), "a login is written as login: {user: my-app, method: publickey, refused: true}"
	}
	return "", ""
}

// names says what a list must be.
type names struct {
	// Exactly is the whole list, in any order.
	Exactly []string `yaml:"exactly"`
	// Offers must be in the list.
	Offers []string `yaml:"offers"`
	// Refuses must not be in the list.
	Refuses []string `yaml:"refuses"`
}

type login struct {
	// User is who tries.
	User string `yaml:"user" ingot:"required"`
	// Method is publickey (with the key that the administrator has in the assay),
	// password, keyboard-interactive, or one with a certificate of the assay's.
	Method string `yaml:"method" ingot:"required"`
	// Refused wants sshd to refuse; it must let the user in by default.
	Refused bool `yaml:"refused"`
}

// algorithmShape is narrower than RFC 4251 §6: a word, and a domain after @.
const algorithmShape = `^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}(@[A-Za-z0-9][A-Za-z0-9.-]{0,63})?$`

var (
	// methodNames are RFC 4252's and OpenSSH's.
	methodNames = []string{"publickey", "password", "keyboard-interactive", "hostbased", "gssapi-with-mic", "none"}
	loginNames  = []string{
		"publickey", "password", "keyboard-interactive",
		layers.Certificate, layers.CertificateExpired, layers.CertificateForOther, layers.CertificateOfStranger,
	}
)

func (l *loader) sshCheck(x sshCheck, c *layers.Check, at []any) {
	offer := layers.SSHOfferCheck{
		User: l.account(x.User, join(at, "user")),
		Kex:  l.names(x.Kex, join(at, "kex")), HostKeys: l.names(x.HostKeys, join(at, "hostKeys")),
		Ciphers: l.names(x.Ciphers, join(at, "ciphers")), MACs: l.names(x.MACs, join(at, "macs")),
		Methods: l.names(x.Methods, join(at, "methods")),
	}
	if x.Methods != nil {
		l.known(*x.Methods, join(at, "methods"))
	}
	asks := offer != layers.SSHOfferCheck{User: x.User}
	switch {
	case x.Login != nil && (asks || x.User != ""):
		l.report("a login is tried, and something else is asked", "make a check of each", join(at, "login")...)
	case x.Login == nil && !asks:
		l.report("the check asks nothing of sshd", "add one of kex, hostKeys, ciphers, macs, methods or login", at...)
	case x.User != "" && x.Methods == nil:
		l.report("sshd offers its algorithms to everybody alike", "remove user, or add methods", join(at, "user")...)
	}
	if x.Login == nil {
		c.SSHOffer = &offer
		return
	}
	l.accountRequired(x.Login.User, join(at, "login", "user"))
	if !slices.Contains(loginNames, x.Login.Method) {
		l.report(fmt.Sprintf("%q is not a way to log in", x.Login.Method), "use publickey, password or keyboard-interactive", join(at, "login", "method")...)
	}
	c.SSHAuth = &layers.SSHAuthCheck{User: x.Login.User, Method: x.Login.Method, Refused: x.Login.Refused}
}

// names checks what is said about one list.
func (l *loader) names(x *names, at []any) *layers.Names {
	if x == nil {
		return nil
	}
	seen := map[string]bool{}
	for _, part := range []struct {
		key  string
		list []string
	}{{"exactly", x.Exactly}, {"offers", x.Offers}, {"refuses", x.Refuses}} {
		for i, name := range part.list {
			switch {
			case !matches(algorithmShape, name):
				l.report(fmt.Sprintf("%q is not a name that sshd could offer", name), "write one name an item, such as curve25519-sha256", join(at, part.key, i)...)
			case seen[name]:
				l.report(fmt.Sprintf("%s stands here twice", name), "keep one of the two", join(at, part.key, i)...)
			}
			seen[name] = true
		}
	}
	switch {
	case len(x.Exactly) == 0 && len(x.Offers) == 0 && len(x.Refuses) == 0:
		l.report("the check says nothing about the list", "add exactly, offers or refuses with some names", at...)
	case len(x.Exactly) > 0 && len(x.Offers)+len(x.Refuses) > 0:
		l.report("the whole list is given, and parts of it", "keep exactly, or offers and refuses", join(at, "exactly")...)
	}
	return &layers.Names{Exactly: x.Exactly, Offers: x.Offers, Refuses: x.Refuses}
}

// known wants the names of methods to be some: a misspelt one is never offered.
func (l *loader) known(x names, at []any) {
	for key, list := range map[string][]string{"exactly": x.Exactly, "offers": x.Offers, "refuses": x.Refuses} {
		for i, name := range list {
			if matches(algorithmShape, name) && !slices.Contains(methodNames, name) {
				l.report(fmt.Sprintf("%q is not a way to log in", name), "use publickey, password, keyboard-interactive, hostbased, gssapi-with-mic or none", join(at, key, i)...)
			}
		}
	}
}
