// Checks that ask tools of macOS, against texts in the form those tools print: sw_vers(1), pmset(1), tmutil(8),
// diskutil(8), sysctl(8), scutil(8), system_profiler(8). The texts stand in for a Mac; figures in them are made up.

import { mkdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { findUsbSpeed, parsePmset } from '../../src/machine/macos.js';
import { findings, mac, testWorld } from './test-context.js';

const SW_VERS = (product: string, build: string): string =>
  `ProductName:\t\tmacOS\nProductVersion:\t\t${product}\nBuildVersion:\t\t${build}\n`;

test.each([
  ['15.5', '24F74', 'machine.os', 'ok'],
  ['13.7', '22H123', 'machine.os', 'fail'],
  ['27.0', '27A5327h', 'machine.os_known_bad', 'warn'],
  ['27.0', '27A331', 'machine.os', 'ok'],
])('macOS %s, build %s, is %s: %s', async (product, build, id, severity) => {
  const world = mac(testWorld(), { sw_vers: SW_VERS(product, build) });
  expect(await findings('machine.os', world)).toMatchObject([{ id, severity }]);
});

test('a known-bad version names who reported it', async () => {
  const world = mac(testWorld(), { sw_vers: SW_VERS('27.0', '27A5327h') });
  expect((await findings('machine.os', world))[0]?.why).toContain('https://');
});

const SWAP = (used: string): string =>
  `vm.swapusage: total = 9216.00M  used = ${used}  free = 1060.75M  (encrypted)\n`;

test.each([
  ['1', '0.00M', 'ok'],
  ['2', '0.00M', 'warn'],
  ['1', '8155.25M', 'warn'],
  ['4', '0.00M', 'fail'],
])('pressure level %s with %s of swap is %s', async (level, used, severity) => {
  const world = mac(testWorld(), {
    'sysctl kern.memorystatus_vm_pressure_level': `kern.memorystatus_vm_pressure_level: ${level}\n`,
    'sysctl vm.swapusage': SWAP(used),
  });
  const host = { ...world.host, memoryBytes: 16 * 2 ** 30 };
  expect(await findings('machine.pressure', { ...world, host })).toMatchObject([{ severity }]);
});

const PMSET = (sleep: string, lowPower: string): string =>
  [
    'System-wide power settings:',
    'Currently in use:',
    ' standby              1',
    ' Sleep On Power Button 1',
    ' hibernatefile        /var/vm/sleepimage',
    ' powernap             1',
    ` sleep                ${sleep} (sleep prevented by coreaudiod)`,
    ' displaysleep         10',
    ` lowpowermode         ${lowPower}`,
    '',
  ].join('\n');
const BATTERY = (source: string): string =>
  `Now drawing from '${source}'\n -InternalBattery-0 (id=4653155)\t83%; charging; 0:41 remaining present: true\n`;

test.each([
  ['0', '0', 'AC Power', ['power.sleep ok']],
  ['1', '0', 'AC Power', ['power.sleep info']],
  ['1', '1', 'Battery Power', ['power.battery warn', 'power.low_power_mode warn']],
])('sleep %s, Low Power Mode %s, on %s: %j', async (sleep, low, source, expected) => {
  const world = mac(testWorld(), {
    'pmset -g batt': BATTERY(source),
    'pmset -g': PMSET(sleep, low),
  });
  const found = await findings('power', world);
  expect(found.map(({ id, severity }) => `${id} ${severity}`)).toEqual(expected);
});

test('a name of several words does not hide the settings of pmset behind it', () => {
  const settings = parsePmset(PMSET('5', '0'));
  expect(settings.get('Sleep On Power Button')).toBe('1');
  expect(settings.get('sleep')).toBe('5');
});

test('models in Time Machine are a warning with a safe remedy; excluded ones are fine', async () => {
  const world = testWorld();
  const included = mac(world, { 'tmutil isexcluded': `[Included]    ${world.home.models}\n` });
  expect(await findings('disk.time_machine', included)).toMatchObject([
    {
      severity: 'warn',
      fix: { command: ['tmutil', 'addexclusion', world.home.models], safe: true },
    },
  ]);
  const excluded = mac(world, { 'tmutil isexcluded': `[Excluded]    ${world.home.models}\n` });
  expect(await findings('disk.time_machine', excluded)).toMatchObject([{ severity: 'ok' }]);
});

const DISKUTIL = (facts: Record<string, string>): string =>
  Object.entries(facts)
    .map(([name, value]) => `   ${`${name}:`.padEnd(27)}${value}`)
    .join('\n');
const DF =
  'Filesystem 512-blocks Used Available Capacity Mounted on\n/dev/disk5s1 1 1 1 1% /Volumes/Big\n';
const USB = JSON.stringify({
  SPUSBDataType: [
    {
      _name: 'USB31Bus',
      _items: [
        {
          _name: 'Portable SSD',
          device_speed: 'super_speed',
          Media: [{ bsd_name: 'disk4', volumes: [{ bsd_name: 'disk4s2' }] }],
        },
      ],
    },
  ],
});
const INTERNAL = {
  'Type (Bundle)': 'apfs',
  Protocol: 'Apple Fabric',
  'Device Location': 'Internal',
};

test.each([
  [{ ...INTERNAL, 'Solid State': 'Yes' }, 'ok', 'internal, Apple Fabric'],
  [{ 'Type (Bundle)': 'exfat', Protocol: 'USB', 'Device Location': 'External' }, 'warn', 'exfat'],
  [
    {
      'Type (Bundle)': 'apfs',
      Protocol: 'USB',
      'Device Location': 'External',
      'APFS Physical Store': 'disk4s2',
    },
    'warn',
    'super speed',
  ],
  [
    { 'Type (Bundle)': 'apfs', Protocol: 'PCI-Express', 'Device Location': 'External' },
    'info',
    'external, PCI-Express',
  ],
])('a volume of %j is %s and says "%s"', async (facts, severity, words) => {
  const world = mac(testWorld(), {
    'df -P': DF,
    'diskutil info /dev/disk5s1': DISKUTIL({ ...facts, 'Mount Point': '/Volumes/Big' }),
    'system_profiler SPUSBDataType': USB,
  });
  const [finding] = await findings('disk.volume', world);
  expect(finding).toMatchObject({ severity });
  expect(finding?.title).toContain(words);
});

test('the speed of a link is found above the disk that hangs on it, and nowhere else', () => {
  expect(findUsbSpeed(USB, 'disk4')).toBe('super_speed');
  expect(findUsbSpeed(USB, 'disk9')).toBeNull();
  expect(findUsbSpeed('no JSON', 'disk4')).toBeNull();
});

test('a proxy of System Settings that no variable names is a warning', async () => {
  const scutil =
    '<dictionary> {\n  HTTPSEnable : 1\n  HTTPSPort : 3128\n  HTTPSProxy : proxy.example\n}\n';
  expect(await findings('hub.proxy', mac(testWorld(), { 'scutil --proxy': scutil }))).toMatchObject(
    [{ severity: 'warn', title: expect.stringContaining('proxy.example:3128') as string }],
  );
});

test('a tool that is missing or says something new is skipped, never a false finding', async () => {
  const world = mac(testWorld(), {});
  mkdirSync(world.home.models, { recursive: true });
  for (const id of [
    'machine.os',
    'machine.pressure',
    'power',
    'disk.volume',
    'disk.time_machine',
  ]) {
    expect(await findings(id, world), id).toMatchObject([{ severity: 'skip' }]);
  }
});
