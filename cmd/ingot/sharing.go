package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"ingot/config"
	"ingot/fault"
	"ingot/images"
	"ingot/images/share"
	"ingot/qemu-tests/attest"
)

// sharingFlags say which registries share stages with this machine.
type sharingFlags struct {
	from, to, keys []string
	anyone         bool
}

func (f *sharingFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVar(&f.from, "cache-from", nil, "take finished stages from this repository of a registry, or oci:FOLDER; can be repeated")
	flags.StringArrayVar(&f.to, "cache-to", nil, "give the stages of this build to this repository or oci:FOLDER; can be repeated")
	flags.StringArrayVar(&f.keys, "cache-key", nil, "take stages that this public key signed, a .pub file, instead of those of test.keys; can be repeated")
	flags.BoolVar(&f.anyone, "cache-trust-registry", false, "take stages whoever signed them: who can write to the registry decides what is in the image")
}

// sharing finds the keys: who signs, and whose stages are taken.
func (f sharingFlags) sharing(loaded config.Loaded, dir string) (images.Sharing, error) {
	s := images.Sharing{Trust: share.Trust{Anyone: f.anyone}}
	var err error
	if s.From, err = places("--cache-from", f.from); err != nil {
		return s, err
	}
	if s.To, err = places("--cache-to", f.to); err != nil {
		return s, err
	}
	if len(s.From) > 0 {
		if s.Trust.Keys, err = f.trusted(loaded, dir); err != nil {
			return s, err
		}
	}
	if len(s.To) > 0 {
		key, err := attest.FindKey(attest.PlacesOf(dir))
		if err != nil {
			return s, err
		}
		s.Sign = key.Signer()
	}
	return s, nil
}

// trusted are the keys whose stages are taken: those of --cache-key, or those
// whose verdicts are relied on, and this user's own.
func (f sharingFlags) trusted(loaded config.Loaded, dir string) ([]ed25519.PublicKey, error) {
	if len(f.keys) > 0 {
		return publicKeys("--cache-key", f.keys)
	}
	keys := loaded.Test.Keys
	if own := attest.PlacesOf(dir).LocalKey(); own != nil {
		keys = append(keys[:len(keys):len(keys)], own)
	}
	if len(keys) == 0 && !f.anyone {
		return nil, fault.Input(errors.New("--cache-from takes signed stages only, and no key is trusted; name one with --cache-key, put it into test.keys, or trust the registry with --cache-trust-registry"))
	}
	return keys, nil
}

func places(flag string, names []string) ([]share.Place, error) {
	var list []share.Place
	for _, name := range names {
		place, err := share.ParsePlace(name)
		if err != nil {
			return nil, fault.Input(fmt.Errorf("%s: %w", flag, err))
		}
		list = append(list, place)
	}
	return list, nil
}

// stageCommands are for this program itself: it runs them in a namespace, where
// an ordinary user's stages have the owners that root sees.
func stageCommands() []*cobra.Command {
	return []*cobra.Command{
		{Use: images.PackVerb + " DIR EPOCH", Hidden: true, Args: cobra.ExactArgs(2), RunE: func(_ *cobra.Command, args []string) error {
			epoch, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil {
				return fault.Input(err)
			}
			return share.Pack(os.Stdout, args[0], epoch)
		}},
		{Use: images.UnpackVerb + " DIR", Hidden: true, Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
			return images.UnpackHere(os.Stdin, args[0])
		}},
	}
}
