package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"ingot/fault"
	"ingot/qemu-tests/attest"
	"ingot/secrets"
)

func keygenCommand(c *console) *cobra.Command {
	var age []string
	cmd := &cobra.Command{
		Use:   "keygen [FILE]",
		Short: "Make a key that signs verdicts",
		Long: `Make an ed25519 key pair that signs verdicts: the private half in FILE, by default
` + attest.KeyFile + ` of the current folder, and the public half in FILE.pub. What is
printed is the public half as test.keys of ingot.yaml takes it. A key that is
there already stays.`,
		Example: `  ingot keygen
  ingot keygen ci.key --age age1… --age "$(cat ~/.ssh/id_ed25519.pub)"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fault.Input(fmt.Errorf("%s takes one file, not %d; quote a name with blanks", cmd.CommandPath(), len(args)))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			file := filepath.FromSlash(attest.KeyFile)
			if len(args) > 0 {
				file = args[0]
			}
			return c.keygen(file, age)
		},
	}
	cmd.Flags().StringArrayVar(&age, "age", nil, "encrypt the private half to this recipient: age1… or a line of an SSH .pub file")
	return cmd
}

// generated is the JSON document of keygen.
type generated struct {
	File      string `json:"file"`
	Public    string `json:"public_file"`
	PublicKey string `json:"public_key"` // as in test.keys
	KeyID     string `json:"key_id"`     // as in envelopes
	Encrypted bool   `json:"encrypted"`
}

func (c *console) keygen(file string, age []string) error {
	recipients, err := secrets.ParseRecipients(age)
	if err != nil {
		return fault.Input(err)
	}
	key, err := attest.MakeKey(file, recipients)
	if err != nil {
		return err
	}
	made := generated{file, file + ".pub", attest.Line(key), attest.KeyID(key), len(recipients) > 0}
	c.remark("made %s, which signs verdicts and which nobody else may have, and %s.", made.File, made.Public)
	c.remark("This line goes into test.keys of ingot.yaml:")
	if c.json {
		return c.document(made)
	}
	return c.write([]byte(made.PublicKey + "\n"))
}
