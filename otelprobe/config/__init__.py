"""What the operator wrote: flow files and process settings become typed, frozen values, or a list of every fault.

`load.load` reads flow files, `settings.load_settings` the process settings, `json_schema` describes flow files to
editors in the words of `meanings`.
Nothing is imported here, so that a command pays only for the part it uses.
"""
