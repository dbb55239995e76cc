package images

import (
	"errors"
	"fmt"
	"regexp"

	"ingot/fault"
)

// aptError is what a program of apt's ended with and said.
type aptError struct {
	command string
	err     error
	said    string
}

func (e aptError) Error() string {
	return fmt.Sprintf("%s: %v\n%s", e.command, e.err, lastLines(e.said, 5))
}

func (e aptError) Unwrap() error { return e.err }

// cause is one reason for which apt fails, known by its words. The words are
// those of apt 2.6 and 3.0 in the language C.
type cause struct {
	words  *regexp.Regexp
	kind   func(error) error
	advice string // of what is wrong, and what to do
}

// updateCauses are why indices cannot be had: one cause has the others as its
// echo, so the first that fits is told. What precedes an advice is the mirror.
var updateCauses = []cause{
	{regexp.MustCompile(`No space left on device|Disk quota exceeded`), fault.Machine,
		"could not be read: the disk of the cache is full; the cache may be deleted at any time"},
	{regexp.MustCompile(`is not valid yet`), fault.Machine,
		"has an index of the future: set this machine's clock"},
	{regexp.MustCompile(`is expired|is not valid anymore`), fault.Machine,
		"has an expired index: it no longer follows Debian's, or this machine's clock is ahead; give another with --mirror, or set the clock"},
	{regexp.MustCompile(`Clearsigned file isn't valid|NOSPLIT|NODATA`), fault.Machine,
		"sent something else than an index, as the login page of a network does; open a browser, or give another with --mirror"},
	{regexp.MustCompile(`NO_PUBKEY|EXPKEYSIG|Missing key|Key is expired`), fault.Machine,
		"is signed with a key that this machine does not have, or that has expired; install the newest debian-archive-keyring, and if that changes nothing, do not trust this mirror"},
	{regexp.MustCompile(`BADSIG|signatures were invalid|OpenPGP signature verification failed|is not signed`), fault.Machine,
		"has an index whose signature is wrong: somebody changed it on its way, or it was copied while it was being replaced; try again later or give another with --mirror, and if that stays, do not trust this mirror"},
	{regexp.MustCompile(`Could not resolve|Temporary failure resolving|Could not connect|Unable to connect|Connection failed|Connection timed out|Connection refused|Could not handshake|certificate`), fault.Machine,
		"cannot be reached; check the network and the proxy, or give another with --mirror"},
	{regexp.MustCompile(`Hash Sum mismatch|unexpected size|Mirror sync in progress`), fault.Machine,
		"has an index that is not the one it signed: it is being updated, or a proxy keeps old files; try again in some minutes or give another with --mirror"},
	{regexp.MustCompile(`does not have a Release file|no longer has a Release file|404 +Not Found|File not found`), fault.Input,
		"has no such suite: below it must be debian and debian-security with this suite; correct --mirror, base.mirrors or base.suite"},
}

// explainUpdate says in clear words why the indices cannot be had, and whose
// turn it is.
func (a apt) explainUpdate(err error) error {
	kind, advice := fault.Machine, "could not be read; check the network or give another with --mirror"
	var said aptError
	if errors.As(err, &said) {
		for _, c := range updateCauses {
			if c.words.MatchString(said.said) {
				kind, advice = c.kind, c.advice
				break
			}
		}
	}
	return kind(fmt.Errorf("the mirror %s %s: %w", a.mirror, advice, err))
}

// unknownPackage is what apt says of a name that no index has, or has without
// a version that could be installed.
var unknownPackage = regexp.MustCompile(`(?:Unable to locate package|Package ['"]?|Couldn't find any package by (?:glob|regex) ['"]?)\s*([a-z0-9][a-z0-9+.-]+)(?:['"]? has no installation candidate)?`)

// explainInstall says why the packages cannot be had together.
func (a apt) explainInstall(err error) error {
	var said aptError
	if !errors.As(err, &said) {
		return err
	}
	if m := unknownPackage.FindStringSubmatch(said.said); m != nil {
		return fault.Input(fmt.Errorf("the suite %s has no package %s; it was removed there, or its name is misspelt: correct the layer that asks for it: %w", a.suite, m[1], err))
	}
	return fault.Input(fmt.Errorf("the packages cannot be installed together: %w", err))
}
