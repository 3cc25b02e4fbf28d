"""The text behind the pocket model: seeded, pure Python, written for this purpose.

Everything here is made from small tables and sentence patterns in plain English. Nothing is
copied from another text. The module yields three things from one seed:

* ``pretraining_documents``: chats and short prose, on which the pocket model is pretrained;
* ``preference_pairs``: prompt, chosen, rejected;
* ``feedback_rows``: prompt, completion, label (unpaired).

Each question can be answered in two registers. The *useful* register is concrete: a step, a
number, a place, a reason. The *vague* register talks round the question at length, or turns the
asker away in a few words. Both registers stand in the pretraining text in equal share, so the
pretrained model has no reason to prefer one; the preference data then asks for the useful one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypedDict

MIN_WORDS: Final = 6
MAX_WORDS: Final = 45
CHOSEN_SHORTER_SHARE: Final = 0.70
OPENER_SHARE: Final = 0.45
SYSTEM_SHARE: Final = 0.08
SECOND_TURN_SHARE: Final = 0.10
PROSE_SHARE: Final = 0.07

PAIR_ROWS: Final = 400
FEEDBACK_ROWS: Final = 480

Role = Literal["system", "user", "assistant"]


class Message(TypedDict):
    """One chat message."""

    role: Role
    content: str


class PairRow(TypedDict):
    """One preference pair, all plain strings."""

    prompt: str
    chosen: str
    rejected: str


class FeedbackRow(TypedDict):
    """One unpaired, binary judgement."""

    prompt: str
    completion: str
    label: bool


@dataclass(frozen=True)
class Document:
    """One pretraining document: a chat, or (when ``messages`` is empty) plain prose."""

    messages: tuple[Message, ...]
    text: str = ""


@dataclass(frozen=True)
class Question:
    """One question with what a concrete answer can say.

    ``subject`` is a noun phrase that a vague answer can talk about. ``cores`` are alternative
    main sentences, each of which answers the question; ``tips`` are concrete additions.
    """

    text: str
    subject: str
    cores: tuple[str, ...]
    tips: tuple[str, ...]


def _table(text: str) -> tuple[tuple[str, ...], ...]:
    """The rows of a table: fields parted by ``|``; a line that starts with ``|`` goes on a row."""
    rows = text.strip().replace("\n  |", " |").splitlines()
    return tuple(tuple(field.strip() for field in row.split("|")) for row in rows)


def _entries(text: str) -> tuple[str, ...]:
    """The entries of a flat list, parted by ``|`` or by line ends."""
    fields = text.replace("\n", "|").split("|")
    return tuple(field.strip() for field in fields if field.strip())


# --- Tables: what the world of the pocket model holds -------------------------------------------

# task | the task as a noun | four steps
TASKS: Final = _table("""
boil an egg | boiling an egg | put the egg in boiling water | wait eight minutes
  | cool it under the cold tap | peel it from the wide end
make a pot of tea | making tea | warm the pot | add one spoon of leaves for each cup
  | pour in boiling water | wait four minutes
cook plain rice | cooking rice | rinse the rice | add two cups of water for each cup
  | simmer it with the lid on for twelve minutes | let it rest for five minutes
make a simple soup | making soup | fry an onion in oil | add carrots and potatoes
  | pour in a litre of water | cook it for half an hour
bake a potato | baking a potato | wash the potato | prick it with a fork
  | rub it with oil and salt | bake it for one hour at two hundred degrees
make pancakes | making pancakes | mix flour, milk and two eggs | rest the batter
  | heat a little butter in the pan | turn the pancake when bubbles show
bake bread at home | baking bread | mix flour, water, salt and yeast
  | knead the dough for ten minutes | let it rise for an hour | bake it until it is brown
sharpen a pencil | sharpening a pencil | push the pencil into the sharpener
  | turn it slowly to the right | stop when the point is sharp | empty the shavings
sew on a button | sewing on a button | thread the needle and tie a knot
  | go through each hole four times | wind the thread under the button | cut the end
iron a shirt | ironing a shirt | start with the collar | do the sleeves next
  | press the back and then the front | hang the shirt up at once
wash a wool jumper | washing wool | fill a bowl with cool water | add a little mild soap
  | press the wool gently | dry it flat on a towel
clean a window | cleaning windows | mix warm water with a drop of soap | wipe from top to bottom
  | dry the glass with newspaper | polish the corners
hang a picture | hanging a picture | mark the spot with a pencil | check that it is level
  | knock in a small nail | hang the picture from its string
fix a flat tyre | fixing a tyre | take off the wheel | find the hole under water
  | dry it and glue on a patch | pump the tyre up again
oil a bicycle chain | oiling a chain | wipe the chain with a rag | put one drop on each link
  | turn the pedals backwards | wipe off what is left
paint a wall | painting a wall | cover the floor | fill the holes and sand them smooth
  | paint the edges with a brush | roll the rest in two thin coats
unblock a sink | unblocking a sink | scoop out the water | clean the plug hole
  | use a plunger ten times | rinse with very hot water
change a light bulb | changing a bulb | switch the light off | let the old bulb cool
  | turn it to the left to take it out | screw the new one in gently
wrap a present | wrapping a present | cut the paper a hand wider than the box
  | fold the long sides over | tape the ends like an envelope | tie a ribbon round it
light a campfire | lighting a campfire | clear a ring of bare earth
  | stack dry twigs round some paper | light it on the windy side | add thicker sticks
put up a tent | putting up a tent | lay the tent flat | join the poles and slide them in
  | lift it and peg the corners | tighten the ropes
read a map | reading a map | turn the map so north is in front | find where you stand
  | follow the path with a finger | look for a church or a bridge as a sign
plant a tree | planting a tree | dig a hole twice as wide as the roots | stand the tree straight
  | fill the hole with loose soil | give it a bucket of water
grow cress on a plate | growing cress | lay wet paper on a plate | scatter the seeds
  | keep the paper damp | cut the cress after a week
water plants while away | watering plants | fill a bottle with water | push the neck into the soil
  | move the pot out of the sun | ask a friend to look in
brush a long-haired dog | brushing a dog | start at the legs | hold the hair at the root
  | comb knots out from the tip | finish with a soft brush
bath a muddy dog | bathing a dog | use lukewarm water | wet the coat from the back
  | keep soap out of the eyes | rub the dog dry with an old towel
teach a dog to sit | teaching a dog | hold a treat over its nose | move it back slowly
  | say sit when it sits down | give the treat at once
calm a nervous cat | calming a cat | sit on the floor near it | speak in a low voice
  | let it sniff your hand | offer a box to hide in
clean a fish tank | cleaning a fish tank | take out a third of the water
  | scrape the green off the glass | suck up the dirt with a hose | add fresh water slowly
fold a paper boat | folding a boat | fold the sheet in half | bring the corners down
  | turn the edges up | pull the middle apart
fly a kite | flying a kite | stand with your back to the wind | hold the kite up high
  | let out ten metres of string | pull gently when it rises
learn to swim | learning to swim | stand in water up to your chest
  | put your face in and blow bubbles | float while holding the edge | kick with straight legs
skip with a rope | skipping | stand on the middle of the rope | cut it to reach your arms
  | turn it with your wrists | jump just a little
tie a bow | tying a bow | cross the ends and pull | make a loop with one end
  | wrap the other end round it | pull the second loop through
write a thank-you card | writing a card | name the gift in the first line | say how you use it
  | ask one question back | sign with your name
remember names better | remembering names | say the name back at once | link it to a picture
  | use it once in the talk | write it down that evening
fall asleep faster | falling asleep | put the phone in another room | keep the bedroom cool
  | read a paper book | breathe out slowly
save a little money | saving money | write down each thing you buy
  | put ten coins in a jar on Monday | cook at home on weekdays | wait a day before buying
tidy a small room | tidying a room | take a box for things to give away | start with the floor
  | do one shelf at a time | put the box by the door
pack a suitcase | packing a suitcase | roll the soft clothes | put shoes at the bottom
  | fill the shoes with socks | keep the wash bag on top
buy a train ticket | buying a ticket | choose the station on the screen
  | pick the day and the time | pay with a card or coins | keep the ticket for the way back
cross a busy road | crossing a road | walk to the nearest lights | press the button
  | wait for the green sign | look left and right before you step
build a bird box | building a bird box | cut six pieces of rough wood
  | drill a hole three centimetres wide | screw the sides together | hang it three metres up
make a snowman | making a snowman | roll a big ball of wet snow | set a smaller ball on top
  | press snow into the gap | use a carrot for the nose
store apples for winter | storing apples | pick dry apples with no marks | wrap each one in paper
  | lay them in a single row | keep them in a cool shed
""")

# tool | what for | how | care
TOOLS: Final = _table("""
hammer | driving nails into wood | hold it near the end | keep your fingers clear
saw | cutting boards and branches | start with a short pull | clamp the wood first
screwdriver | turning screws | pick a tip that fits the slot | press down as you turn
spanner | loosening nuts and bolts | pull it towards you | choose the exact size
chisel | shaping wood in thin slices | tap it with a mallet | cut away from your body
file | smoothing rough metal | push it forward only | lift it on the way back
plane | making a board flat | follow the grain | set the blade very thin
drill | making round holes | mark the spot first | hold it straight
spade | digging heavy soil | push with your foot | bend your knees, not your back
rake | gathering leaves | use long, light strokes | lay it with the teeth down
hoe | cutting weeds at the root | slide it just under the soil | work on a dry day
trowel | planting small flowers | hold it like a dagger | wash it after use
watering can | watering beds gently | pour at the roots | fill it in the morning
wheelbarrow | moving heavy loads | put the weight over the wheel | push on level ground
whisk | beating air into eggs | turn it in small circles | use a deep bowl
ladle | serving soup | dip it to the bottom | let it drip before you pour
colander | draining pasta | set it in the sink | pour away from you
grater | shredding cheese and carrots | move down with light force | stop near the end
rolling pin | flattening dough | dust it with flour | roll from the middle outwards
peeler | taking skin off potatoes | pull it along the side | turn the potato often
funnel | filling narrow bottles | stand it in the neck | pour slowly
kitchen scale | weighing flour and sugar | set it to zero with the bowl on | use it on a flat table
thermometer | checking how hot something is | wait one minute | read it at eye level
tape measure | finding lengths | hook the end on the edge | read it twice
spirit level | checking that a shelf is flat | lay it in the middle
  | look for the bubble between the lines
ladder | reaching high places | lean it one step out for four up | keep three limbs on it
torch | seeing in the dark | point it at the ground | carry spare batteries
compass | finding north | hold it flat | stand away from iron
needle | sewing cloth | thread it in good light | wear a thimble
iron | pressing creases out of cloth | keep it moving | stand it up when you pause
broom | sweeping floors | pull the dust to one spot | start in the corners
mop | washing hard floors | wring it out well | walk backwards to the door
bucket | carrying water or sand | fill it to two thirds | use both hands
bicycle pump | filling tyres with air | push it straight on the valve
  | check the pressure with your thumb
magnifying glass | looking at tiny things | move it until the picture is sharp
  | keep it out of the sun
pair of scissors | cutting paper and thread | open them wide | pass them handle first
""")

# animal | food | home | young | a fact
ANIMALS: Final = _table("""
heron | fish and frogs | beside rivers and ponds | chick | stands still for an hour
hedgehog | beetles and worms | under hedges and leaf piles | hoglet | sleeps all winter
otter | fish and crabs | in holes along clean rivers | pup | floats on its back
badger | worms and roots | in tunnels under woods | cub | comes out after dark
fox | mice and berries | in dens at the edge of fields | cub | hears a mouse under snow
rabbit | grass and clover | in burrows on dry slopes | kit | thumps to warn its friends
squirrel | nuts and seeds | in nests high in trees | kitten | buries food for winter
owl | mice and voles | in old barns and hollow trees | owlet | flies without a sound
robin | insects and crumbs | in gardens and hedges | chick | sings in winter too
swallow | flies caught in the air | under barn roofs | chick | flies south in autumn
duck | weeds and snails | on ponds and slow rivers | duckling | has oily feathers
goose | short grass | on lakes and wet fields | gosling | flies in a long line
hen | grain and insects | in a dry coop | chick | lays about five eggs a week
cow | grass and hay | in meadows and barns | calf | chews its food twice
sheep | grass and herbs | on hills and in fields | lamb | knows fifty faces
goat | leaves and twigs | on rocky hills | kid | climbs steep rocks
horse | hay and oats | in stables and pastures | foal | can sleep standing up
donkey | straw and thistles | in dry fields with a shed | foal | is careful on slopes
pig | roots and grain | in a sty with mud to roll in | piglet | rolls in mud to cool down
bee | nectar and pollen | in a hive of wax | larva | dances to show the way
ant | seeds and sweet sap | in nests under stones | larva | lifts ten times its weight
butterfly | nectar from flowers | in sunny meadows | caterpillar | tastes with its feet
spider | flies and moths | in webs in quiet corners | spiderling | has eight legs
frog | slugs and flies | in ponds and wet grass | tadpole | drinks through its skin
snail | leaves and moss | under damp stones | hatchling | has teeth on its tongue
tortoise | weeds and flowers | in dry, warm places | hatchling | can live a century
seal | fish and squid | on rocky coasts | pup | holds its breath for half an hour
whale | tiny shrimps | in deep, cold seas | calf | sings to others far away
dolphin | fish and squid | in warm seas | calf | calls each friend by a whistle
penguin | small fish | on cold southern coasts | chick | keeps its egg on its feet
polar bear | seals | on the northern ice | cub | has black skin under white fur
camel | dry grass and thorns | in hot deserts | calf | drinks a bathtub of water
elephant | grass, bark and fruit | on warm plains | calf | greets friends by trunk
giraffe | leaves from tall trees | on open plains | calf | sleeps half an hour a night
lion | zebras and antelopes | on dry grassland | cub | rests for most of the day
kangaroo | grass and shoots | on wide, dry plains | joey | cannot walk backwards
mouse | seeds and cheese rinds | in walls and fields | pup | squeezes through tiny gaps
bat | moths and midges | in caves and lofts | pup | finds its way by echo
""")

# thing | colour | second colour
COLOURS: Final = _table("""
ripe tomato | red | green
ripe banana | yellow | green
lemon | yellow | green
carrot | orange | white
plum | purple | green
clear sky | blue | grey
fresh snow | white | grey
coal | black | grey
grass in spring | green | brown
oak leaf in autumn | brown | green
raven | black | blue
swan | white | brown
flamingo | pink | grey
rain cloud | grey | white
beetroot | dark red | brown
egg yolk | yellow | orange
copper coin | brown | green
ripe blackberry | black | red
poppy | red | black
cornflower | blue | white
sunflower | yellow | brown
aubergine | purple | white
lobster before cooking | dark blue | red
cooked shrimp | pink | grey
brick | red | yellow
dry sand | yellow | brown
""")

# paint | paint | result
MIXES: Final = _table("""
red | yellow | orange
blue | yellow | green
red | blue | purple
red | white | pink
black | white | grey
orange | blue | brown
blue | white | light blue
green | white | pale green
purple | white | lilac
brown | white | beige
""")

NUMBERS: Final = _entries("""
zero | one | two | three | four | five | six | seven | eight | nine | ten | eleven | twelve |
thirteen | fourteen | fifteen | sixteen | seventeen | eighteen | nineteen | twenty | twenty-one |
twenty-two | twenty-three | twenty-four
""")

# things | parts | parts of each
COUNTS: Final = _table("""
cars | wheels | 4
bicycles | wheels | 2
cats | legs | 4
birds | wings | 2
spiders | legs | 8
beetles | legs | 6
stools | legs | 3
hands | fingers | 5
triangles | corners | 3
tricycles | wheels | 3
""")

# weather | clothes | reason | care
WEATHERS: Final = _table("""
pouring with rain | a raincoat and rubber boots | wet cloth steals your warmth
  | take a dry pair of socks
snowing | a thick coat, gloves and a hat | the head and hands get cold first
  | tuck the trousers into the boots
hot and sunny | a wide hat and a loose linen shirt | loose cloth lets the air in
  | put sun cream on the neck
windy | a tight jacket with a zip | wind finds every open gap | leave the umbrella at home
foggy | a bright scarf and a light coat | drivers see bright colours sooner | carry a small lamp
freezing | two thin jumpers under a coat | air between layers keeps you warm
  | wear wool next to the feet
mild and cloudy | a shirt with a thin cardigan | you can take it off at noon
  | keep a small umbrella in the bag
thundering | a rain jacket with a hood | an umbrella has a metal tip | stay away from single trees
icy | boots with a rough sole | smooth soles slide on ice | walk with short, flat steps
damp and cool | a wool jumper and a scarf | wool stays warm when it is damp
  | hang the coat up to dry after
""")

OUTINGS: Final = _entries("""
a walk by the lake | the school run | a football match | a day at the market | the bus stop |
a bike ride | a picnic | a morning in the garden | a trip to the zoo | the walk to work
""")

# trip | items | one more
TRIPS: Final = _table("""
a weekend by the sea | a swimsuit, a towel and sandals | a bag for the wet things
a week in the mountains | walking boots, a map and a warm jumper | plasters for the heels
a night in a tent | a sleeping bag, a mat and a torch | a bottle of water for the night
a long train ride | a book, a sandwich and a bottle of water | a scarf as a pillow
a city visit | light shoes, a small bag and a rain jacket | a card with the hotel address
a boat trip | a windproof coat, a hat and sun cream | ginger sweets against sickness
a visit to a farm | old trousers, boots and a spare shirt | carrots for the donkey
a ski trip | goggles, thick gloves and long socks | lip balm in the top pocket
a flight abroad | a passport, a charger and a light jumper | an empty bottle to fill later
a stay with grandparents | slippers, a board game and a photo | a jar of jam as a gift
""")

COMPANIONS: Final = _entries("""
alone | with two small children | with my dog | with my mother | with a friend |
for the first time
""")

# ingredient | step | goes with it
INGREDIENTS: Final = _table("""
potatoes | boil the potatoes for fifteen minutes | a pinch of salt
eggs | beat the eggs in a bowl | black pepper
tomatoes | chop the tomatoes and fry them gently | fresh basil
onions | brown the onions in a little oil | a spoon of vinegar
mushrooms | fry the mushrooms in a hot, dry pan | a knob of butter
spinach | stir the spinach in at the end | grated nutmeg
carrots | cut the carrots into thin sticks | a little honey
beans | warm the beans with garlic | a spoon of olive oil
leftover rice | fry the rice until it is crisp | soy sauce
pasta | boil the pasta for nine minutes | grated cheese
stale bread | toast the bread in cubes | a rub of garlic
apples | slice the apples and stew them | cinnamon
cheese | melt the cheese over the top | a bit of mustard
lentils | simmer the lentils for twenty minutes | cumin and lemon
courgettes | grill the courgettes in long strips | mint leaves
peas | cook the peas for three minutes | a few drops of lemon
""")

DISHES: Final = _entries("""
a thick soup | a warm salad | a quick bake | a pan dish | a filled omelette | a pie | a stew
""")

# stain | step | helper
STAINS: Final = _table("""
coffee | dab it with cold water | a spoon of baking soda
red wine | cover it with salt at once | sparkling water
grass | rub it with white vinegar | a soft brush
ink | press a cloth with alcohol on it | a dry paper towel
candle wax | freeze it and scrape it off | paper under a warm iron
chocolate | scrape it and rinse from the back | a drop of dish soap
blood | soak it in cold salt water | a little soap
oil | sprinkle flour on it for an hour | dish soap
mud | let it dry and brush it off | warm soapy water
tomato sauce | rinse it with cold water | lemon juice
chewing gum | harden it with ice | a blunt knife
berry juice | pour hot water through it | lemon juice and sun
""")

FABRICS: Final = _entries("""
a white shirt | the carpet | my jeans | a wool coat | the sofa | a tablecloth | a child's dress |
my school bag
""")

# thing | place | reason
KEEPINGS: Final = _table("""
bread | in a wooden box | it stays dry but does not go hard
honey | in a cupboard with the lid tight | it draws water from the air
butter | in a covered dish in the fridge | it takes on other smells
onions | in a net in a dark corner | light makes them sprout
potatoes | in a paper bag in the cellar | light turns them green
tomatoes | on the window sill | the cold spoils their taste
bananas | on a hook away from other fruit | they make other fruit ripen
flour | in a jar with a tight lid | moths love open bags
coffee beans | in a dark tin | light and air make them stale
fresh herbs | in a glass of water | the stems keep drinking
old photos | in a dry box with paper between | damp makes them stick
batteries | in a drawer at room temperature | heat drains them
paint | upside down in the shed | the lid seals itself
keys | on a hook beside the door | you pass it each time you leave
winter coats | in a cotton bag with lavender | moths dislike the smell
medicine | on a high shelf in the bedroom | the bathroom is too damp
seeds | in paper envelopes in a tin | they must stay cool and dry
a guitar | in its case away from the heater | dry heat cracks the wood
wine | on its side in the cellar | the cork must stay wet
cut flowers | in a cool room overnight | warm air makes them droop
""")

# word | opposite | example of both
OPPOSITES: Final = _table("""
hot | cold | soup and ice
early | late | a dawn bus and a night bus
heavy | light | a stone and a feather
loud | quiet | a drum and a whisper
empty | full | a dry well and a lake
rough | smooth | bark and glass
narrow | wide | a lane and a motorway
brave | timid | a lion and a mouse
sweet | sour | honey and vinegar
shallow | deep | a puddle and the sea
bright | dim | noon and dusk
blunt | sharp | a spoon and a razor
generous | mean | a gift and a locked purse
tidy | messy | a desk and a nest
ancient | modern | a castle and an airport
soft | hard | wool and iron
rare | common | a comet and a sparrow
polite | rude | a bow and a shove
thick | thin | a wall and a sheet
wild | tame | a wolf and a lapdog
""")

# plant | month | depth | spot | water
PLANTS: Final = _table("""
tomatoes | April | one centimetre | a sunny wall | every morning
carrots | March | one centimetre | loose, sandy soil | twice a week
potatoes | late March | ten centimetres | open ground | once a week
beans | May | four centimetres | a bed with tall poles | every second day
lettuce | April | half a centimetre | light shade | every evening
garlic | October | five centimetres | a dry, sunny bed | only in dry spells
onions | March | two centimetres | firm soil in the sun | once a week
pumpkins | May | three centimetres | rich soil by the compost | every day in summer
peas | February | four centimetres | a cool bed with netting | twice a week
radishes | March | one centimetre | any free corner | every second day
tulips | November | fifteen centimetres | a sunny border | hardly at all
sunflowers | April | two centimetres | the south side of a fence | every evening
strawberries | August | crown level with the soil | a raised bed | twice a week
basil | May | half a centimetre | a warm window | every morning
mint | April | two centimetres | a pot in half shade | every day
lavender | May | as deep as its pot | stony, dry ground | once a fortnight
roses | November | graft just under the soil | an airy, sunny spot | once a week
spinach | September | two centimetres | half shade | every second day
""")

# hobby | gift | other gift
HOBBIES: Final = _table("""
cooking | a heavy pan | a jar of good spices
reading | a lamp that clips to the book | a novel with a note inside
gardening | strong gloves | a packet of rare seeds
cycling | a bright rear light | a bag for the frame
drawing | a box of soft pencils | thick paper in a pad
fishing | a folding stool | a flask for hot tea
music | a ticket to a small concert | a record from the year they were born
walking | thick wool socks | a map of a new area
chess | a wooden board | a book of short puzzles
knitting | a ball of fine wool | needles made of birch
painting | a set of round brushes | a small canvas
birds | light field glasses | a feeder for the window
""")

PEOPLE: Final = _entries("""
my sister | my father | my teacher | my neighbour | a colleague | my grandmother | my best friend
| my uncle
""")

DAYS: Final = _entries("""
Monday | Tuesday | Wednesday | Thursday | Friday | Saturday | Sunday
""")

# weather | three things to do
AFTERNOONS: Final = _table("""
rainy | bake a tray of biscuits | build a den from blankets | sort the old photos
sunny | have a picnic by the river | pick berries at the farm | wash the bikes outside
windy | fly a kite on the hill | listen to the trees in the wood | sail paper boats
snowy | ride a sledge down the hill | feed the birds | make hot chocolate
grey | visit the free museum | swim at the indoor pool | cook a big pot of soup
warm | paint stones in the garden | water the neighbour's plants | play badminton
frosty | look for ice on the pond | knit by the stove | walk with a flask of tea
""")

COMPANY: Final = _entries("""
two children | an old friend | my parents | a new neighbour | my cousin | a bored teenager
""")

# trouble | remedy | remedy | note
TROUBLES: Final = _table("""
hiccups | hold your breath for ten seconds | sip cold water slowly | they stop by themselves
dry hands | rub in cream before bed | wear gloves for the dishes | hot water dries the skin
tired feet | soak them in warm water | lift them on a cushion | thick soles help next time
a stiff neck | roll the shoulders ten times | lay a warm towel on it | raise the screen
tired eyes | look out of the window for a minute | blink often | turn the lamp away
a mosquito bite | press something cold on it | dab it with vinegar | try not to scratch
a blister | cover it with a soft plaster | keep it dry | change the shoes
a sore throat | gargle with salt water | drink tea with honey | see a doctor after a week
cold feet | put on wool socks | walk up the stairs twice | keep a hot bottle in bed
a bad mood | walk round the block | ring someone you like | eat something warm
seasickness | look at the far line of the sea | sit in the middle | nibble dry biscuits
a splinter | pull it out with clean tweezers | wash the spot with soap | use good light
nerves before a talk | breathe out longer than in | learn the first line by heart
  | look at one friendly face
a runny nose | breathe steam from a bowl | sleep with a second pillow | drink plenty
""")

# food | time | sign that it is done
COOK_TIMES: Final = _table("""
soft eggs | five minutes | the white is firm and the middle runs
fresh pasta | three minutes | it floats to the top
broccoli | four minutes | a knife goes into the stem
new potatoes | eighteen minutes | they slide off a fork
a whole chicken | ninety minutes | the juice runs clear
a pizza | ten minutes | the edge is brown
porridge | six minutes | it falls slowly from the spoon
sausages | fifteen minutes | no pink is left inside
corn on the cob | eight minutes | the grains are bright yellow
a sponge cake | thirty minutes | a stick comes out clean
a piece of salmon | twelve minutes | it breaks into flakes
red lentils | fifteen minutes | they fall apart
jam | twenty minutes | a drop sets on a cold plate
stock | three hours | the bones are bare
biscuits | eleven minutes | the rims turn gold
brown rice | thirty minutes | the water is gone
""")

# where | way | reason
DISTANCES: Final = _table("""
across the village | walk | it takes ten minutes and costs nothing
to the next town | take the bus | it leaves every twenty minutes
to the other side of the city | take the underground | it is not held up by cars
two hundred kilometres north | take the train | you can rest on the way
over the sea to an island | take the ferry | you can stand in the fresh air
to a far country | fly | it saves three days
to the farm on the hill | go by bike | the lane is quiet
into the mountains | share a car | the bus stops at the foot
""")

# with what | advice
LOADS: Final = _table("""
a heavy suitcase | use wheels or a strap for the case
a sleepy child | choose a seat by the window
a big dog | ask about a dog ticket first
a birthday cake | keep the box flat on your knees
a broken ankle | ask the staff for a ramp
very little money | book the ticket a week before
a cello | reserve the place next to yours
no time to lose | leave before the morning rush
""")

OPENERS: Final = _entries("""
Hello. | Hi there. | Quick question. | Please help me. | I am new to this. | Good morning. |
One thing I want to know. | My son asked me this. | I cannot decide. |
We talked about it at lunch. | I have an odd one. | Short answer, please. |
I could use some advice. | This came up at home. | Good evening. | Excuse me.
""")

SYSTEM_PROMPTS: Final = _entries("""
You are a helpful assistant. | Answer the user in plain words. |
You answer short everyday questions. | You talk with people about daily life.
""")

# --- Patterns of the useful register ------------------------------------------------------------

USEFUL_LEADS: Final = _entries("""
Happy to help. | Gladly. | Here is what works. | That is easy to do. | Nice question. | Of course.
| Sure. | Let me tell you. | You can do this. | Good that you ask. | In short: | What I would do:
| No problem. | Yes, here it is. | This is how I know it. | A short answer: | Let us see. |
With pleasure. | That I know. | Good thing to know. | People ask this a lot. | It is simple.
| Here you go. | My answer: | Fine, listen. | I can help there.
""")
USEFUL_LEAD_SHARE: Final = 0.40
USEFUL_TAILS: Final = _entries("""
Have fun with it. | You will manage. | Write back if it does not work. | Enjoy it. |
That is all you need. | It gets easier each time. | Good luck with it. | Tell me how it goes. |
I am glad to add more. | It takes no special skill. | Ask me again any time. | Now you know. |
I hope this helps. | Try it today. | That should do. | Keep it in mind.
""")
USEFUL_TAIL_SHARE: Final = 0.25

# --- Patterns of the vague register -------------------------------------------------------------

SLOT_SKEW: Final = 0.3
VAGUE_SLOTS: Final[Mapping[str, tuple[str, ...]]] = {
    "thing": _entries("""
matter | topic | subject | question | area | theme | issue | field
"""),
    "who": _entries("""
some people | many people | experts | others | a few of us | most folks | several writers |
various voices | older people | certain friends
"""),
    "factor": _entries("""
the situation | your taste | the moment | your mood | many factors | how you look at it |
the people involved | your habits | the season | what you expect | the context | your goals
"""),
    "past": _entries("""
for ages | since forever | over the years | in the past | at all times | now and then |
in many lands | for quite a while
"""),
    "act": _entries("""
think it over | keep an open mind | see what happens | weigh everything up | take it as it comes |
consider all sides | wait and see | look at the whole | trust the process | reflect on it |
leave it open | stay flexible
"""),
    "qual": _entries("""
important | meaningful | relevant | worth a thought | hard to pin down | not simple | rather open
| quite deep | never settled | always changing
"""),
    "where": _entries("""
in a book | online | at the library | somewhere | in the paper | at home | in a list |
on the label
"""),
    "adv": _entries("""
really | perhaps | probably | naturally | maybe | certainly | honestly | frankly | clearly |
possibly
"""),
}

VAGUE_SENTENCES: Final = _entries("""
{Adv}, {subject} is one of those things that {who} {adv} see in a different way.
There is a lot to say about {subject}, and {who} would {adv} put it in other words.
It {adv} depends on {factor}, and on {factor} that comes with it.
When it comes to {subject}, there is no right or wrong, only what {adv} feels right to you.
{Who} say one thing and {who} say another, and both {adv} have a point.
You could {act}, or you could leave it as it is for the time being.
This has been talked about {past}, and it will be talked about again.
One might say that {subject} is {qual}, and one might also say that it is not.
That reminds me of {other}, which is quite a {thing} in itself.
In the end it is {adv} best to {act} and see where it takes you.
At the end of the day it all comes down to {factor}.
Much could be said here, but it would take us too far from the point.
I find {subject} {qual}, though it is hard to say why that should be so.
Whether it is {subject} or {other}, the same thoughts apply more or less.
So {act}, take your time, and things will sort themselves out.
{Adv}, {who} have to find an answer to that, one way or another.
""")

CURT_SENTENCES: Final = _entries("""
I would not bother with {subject} if I were you.
Ask someone else about {subject}, not me.
Why do you even ask me about {subject}?
Just look it up {where}, it is not hard to find.
Everybody knows about {subject}, so you should know too.
I have no time for {subject} today.
It does not matter, {act} or forget about it.
Find it out for yourself, like {who} do.
You should know that, you were not listening again.
No idea, and {subject} bores me anyway.
Do whatever you like, it is only {subject}.
That is not a {thing} I care to talk about.
Use your head for once, then {act}.
I said it before, it depends on {factor}.
Leave me alone with {subject}, it is not my job.
""")

OTHER_SUBJECTS: Final = _entries("""
old clocks | the price of bread | train timetables | modern art | the news | gardening |
long walks | team sports | the moon | family dinners | handwriting | cheap shoes | holiday plans |
folk songs | ships | neighbours | school days | wallpaper | chess | summer evenings | small talk |
bus drivers | soup | mirrors | village fairs | umbrellas
""")


def word_count(text: str) -> int:
    """Number of words, split at white space."""
    return len(text.split())


def _capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def _article(noun: str) -> str:
    """The noun with "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


# --- Questions: each family lists all of its questions, in a fixed order -------------------------


def _task_questions() -> Iterator[Question]:
    for task, subject, one, two, three, four in TASKS:
        cores = (
            f"First {one}, then {two}.",
            f"{_capital(one)}, {two}, and {three}.",
            f"{_capital(one)}. After that, {two} and {three}.",
            f"Begin like this: {one}. Then {two}.",
        )
        tips = (
            f"At the end, {four}.",
            f"Last of all, {four}.",
            f"Do not forget to {four}.",
            f"Then {three}, and {four}.",
        )
        for pattern in (
            "How do I {}?",
            "What is the best way to {}?",
            "Can you explain how to {}?",
            "I want to {}. Where do I start?",
        ):
            yield Question(pattern.format(task), subject, cores, tips)


def _tool_questions() -> Iterator[Question]:
    for tool, use, how, care in TOOLS:
        name = _article(tool)
        tips = (f"When you use it, {how}.", f"To be safe, {care}.", f"{_capital(how)}, and {care}.")
        cores = (
            f"{_capital(name)} is for {use}.",
            f"It is made for {use}.",
            f"People use {name} for {use}.",
        )
        yield Question(f"What is {name} for?", tool + " work", cores, tips)
        yield Question(
            f"When would I need {name}?",
            tool + " work",
            (f"You need it for {use}.", f"Take {name} for {use}."),
            tips,
        )
        yield Question(
            f"How do I hold and use {name}?",
            tool + " work",
            (f"{_capital(how)}, and {care}.", f"Just {how}. Also, {care}."),
            (f"It is best for {use}.", f"Try it first on {use}."),
        )


def _animal_questions() -> Iterator[Question]:
    for animal, food, home, young, fact in ANIMALS:
        name = _article(animal)
        plural = {
            "sheep": "sheep",
            "goose": "geese",
            "mouse": "mice",
            "fox": "foxes",
            "butterfly": "butterflies",
        }.get(animal, animal + "s")
        extra = f"Did you know that it {fact}?"
        where = f"You find it {home}."
        yield Question(
            f"What does {name} eat?",
            f"the food of {plural}",
            (
                f"It eats {food}.",
                f"{_capital(name)} eats {food}.",
                f"Mostly {food}, and some other small things.",
            ),
            (extra, where),
        )
        yield Question(
            f"Where do {plural} live?",
            f"the home of {plural}",
            (f"They live {home}.", f"{_capital(plural)} live {home}.", f"Look for them {home}."),
            (f"There they find {food}.", f"Each one {fact}."),
        )
        yield Question(
            f"What is a baby {animal} called?",
            f"the name for young {plural}",
            (
                f"It is called a {young}.".replace("a o", "an o"),
                f"A young {animal} is a {young}.".replace("a o", "an o"),
            ),
            (f"It grows up {home}.", f"Later it will eat {food}."),
        )
        yield Question(
            f"Tell me something about {plural}.",
            f"the life of {plural}",
            (f"{_capital(name)} {fact}.", f"It {fact}, and it lives {home}."),
            (f"It eats {food}.", where),
        )


def _colour_questions() -> Iterator[Question]:
    for thing, colour, second in COLOURS:
        name = (
            thing
            if thing in ("coal", "fresh snow", "dry sand", "grass in spring", "cooked shrimp")
            else _article(thing)
        )
        yield Question(
            f"What colour is {name}?",
            "the colour of things",
            (
                f"It is {colour}.",
                f"{_capital(name)} is {colour}.",
                f"Mostly {colour}, sometimes {second}.",
            ),
            (
                f"Now and then you see {second} on it as well.",
                f"To paint it, take {colour} with a touch of {second}.",
            ),
        )
    for first, other, result in MIXES:
        for ask in ("What do I get if I mix {} and {} paint?", "Which colour do {} and {} make?"):
            yield Question(
                ask.format(first, other),
                "mixing paint",
                (f"You get {result}.", f"{_capital(first)} and {other} make {result}."),
                (f"More {first} makes it stronger.", f"Add the {other} drop by drop."),
            )


def _number_questions() -> Iterator[Question]:
    for left in range(2, 13):
        for right in range(2, 13, 2):
            total = left + right
            one, two, three = NUMBERS[left], NUMBERS[right], NUMBERS[total]
            yield Question(
                f"What is {one} plus {two}?",
                "adding numbers",
                (f"It is {three}.", f"{_capital(one)} plus {two} is {three}."),
                (
                    f"Start at {one} and count {two} more.",
                    f"Check it: {three} minus {two} is {one}.",
                ),
            )
    for things, parts, number in COUNTS:
        each = int(number)
        for many in (2, 3, 4):
            total = many * each
            yield Question(
                f"How many {parts} do {NUMBERS[many]} {things} have?",
                "counting " + parts,
                (
                    f"They have {NUMBERS[total]} {parts}."
                    if total < len(NUMBERS)
                    else f"They have {total} {parts}.",
                ),
                (
                    f"Each has {NUMBERS[each]}, so count {NUMBERS[many]} times.",
                    f"One alone has {NUMBERS[each]} {parts}.",
                ),
            )


def _weather_questions() -> Iterator[Question]:
    for weather, clothes, reason, care in WEATHERS:
        for outing in OUTINGS:
            yield Question(
                f"It is {weather}. What should I wear for {outing}?",
                "dressing for the weather",
                (
                    f"Wear {clothes}, because {reason}.",
                    f"Put on {clothes}.",
                    f"For {outing}, take {clothes}.",
                ),
                (f"Also, {care}.", f"One more thing: {care}.", f"{_capital(reason)}."),
            )


def _trip_questions() -> Iterator[Question]:
    for trip, items, extra in TRIPS:
        for companion in COMPANIONS:
            yield Question(
                f"What should I pack for {trip} {companion}?",
                "packing",
                (f"Pack {items}.", f"You need {items}.", f"Take {items}."),
                (
                    f"Also bring {extra}.",
                    f"I would add {extra}.",
                    f"For {trip}, {extra} helps too.",
                ),
            )


def _cooking_questions() -> Iterator[Question]:
    for index, (first, first_step, first_extra) in enumerate(INGREDIENTS):
        for offset, (second, second_step, second_extra) in enumerate(INGREDIENTS[index + 1 :]):
            dish = DISHES[(index + offset) % len(DISHES)]
            yield Question(
                f"What can I cook with {first} and {second}?",
                "cooking at home",
                (
                    f"Make {dish}: {first_step}, then {second_step}.",
                    f"Try {dish}. {_capital(first_step)} and {second_step}.",
                ),
                (
                    f"Add {first_extra}.",
                    f"Season it with {second_extra}.",
                    f"It is good with {first_extra} and {second_extra}.",
                ),
            )
    for food, minutes, sign in COOK_TIMES:
        for ask in ("How long should I cook {}?", "When are {} done?", "How much time for {}?"):
            text = ask.format(food)
            if text.startswith("When are a "):
                text = f"When is {food} done?"
            yield Question(
                text,
                "cooking " + food,
                (f"About {minutes}.", f"Give it {minutes}.", f"It takes {minutes}, until {sign}."),
                (f"It is ready when {sign}.", "Set a clock and taste it at the end."),
            )


def _stain_questions() -> Iterator[Question]:
    for stain, step, helper in STAINS:
        for fabric in FABRICS:
            yield Question(
                f"How do I get {stain} out of {fabric}?",
                "removing " + stain,
                (
                    f"{_capital(step)}, then use {helper}.",
                    f"Quickly {step}.",
                    f"For {stain}, {step} and finish with {helper}.",
                ),
                (
                    f"What is left goes away with {helper}.",
                    f"Test {helper} on a hidden corner first.",
                    f"Afterwards wash {fabric} as usual.".replace("my ", "your "),
                ),
            )


def _keeping_questions() -> Iterator[Question]:
    for thing, place, reason in KEEPINGS:
        for ask in (
            "Where should I keep {}?",
            "What is a good place for {}?",
            "How do I store {}?",
        ):
            yield Question(
                ask.format(thing),
                "storing " + thing,
                (
                    f"Keep {thing} {place}.",
                    f"Best {place}.",
                    f"{_capital(place)}, because {reason}.",
                ),
                (
                    f"The reason is simple: {reason}.",
                    f"There, {reason}." if "stay" in reason else f"Remember that {reason}.",
                ),
            )


def _word_questions() -> Iterator[Question]:
    for word, opposite, example in OPPOSITES:
        for asked, answer in ((word, opposite), (opposite, word)):
            yield Question(
                f"What is the opposite of {asked}?",
                "the meaning of words",
                (f"It is {answer}.", f"The opposite of {asked} is {answer}."),
                (f"Think of {example}.", f"You see both in {example}."),
            )


def _garden_questions() -> Iterator[Question]:
    for plant, month, depth, spot, water in PLANTS:
        one = not plant.endswith("s")
        them, they, grow = ("it", "it likes", "grows") if one else ("them", "they like", "grow")
        tips = (
            f"{_capital(they)} {spot}.",
            f"Water {them} {water}.",
            f"Set {them} {depth} deep." if "centimetre" in depth else f"Mind the depth: {depth}.",
        )
        place = f"on {spot}" if spot.startswith("the") else f"in {spot}"
        yield Question(
            f"When should I plant {plant}?",
            "planting " + plant,
            (
                f"Plant {them} in {month}.",
                f"{_capital(month)} is the right time.",
                f"In {month}, when the soil is ready.",
            ),
            tips,
        )
        yield Question(
            f"How often should I water {plant}?",
            "watering " + plant,
            (f"Give {them} water {water}.", f"{_capital(water)}, at the roots."),
            tips,
        )
        yield Question(
            f"What spot is best for {plant}?",
            "growing " + plant,
            (f"Choose {spot}.", f"{_capital(plant)} {grow} best {place}."),
            tips,
        )


def _gift_questions() -> Iterator[Question]:
    for hobby, first, second in HOBBIES:
        for person in PEOPLE:
            yield Question(
                f"What can I give {person}, who loves {hobby}?",
                "choosing a present",
                (
                    f"Give {first}.",
                    f"I suggest {first} or {second}.",
                    f"Someone who loves {hobby} will like {first}.",
                ),
                (
                    f"Or choose {second}.",
                    f"For less money, {second} is fine.",
                    "Add a card with one kind line.",
                ),
            )


def _plan_questions() -> Iterator[Question]:
    for weather, one, two, three in AFTERNOONS:
        for position, company in enumerate(COMPANY):
            day = DAYS[(position + len(weather)) % len(DAYS)]
            yield Question(
                f"What can I do on a {weather} {day} with {company}?",
                "free time",
                (
                    f"You could {one} or {two}.",
                    f"{_capital(one)}, then {two}.",
                    f"How about this: {two}?",
                ),
                (f"If there is time, {three}.", f"Later you can {three}."),
            )


def _trouble_questions() -> Iterator[Question]:
    for trouble, one, two, note in TROUBLES:
        for ask in ("What helps against {}?", "What can I do about {}?", "I have {}. Any idea?"):
            yield Question(
                ask.format(trouble),
                "dealing with " + trouble,
                (f"{_capital(one)}.", f"{_capital(one)}, or {two}.", f"Try this: {two}."),
                (f"{_capital(two)} as well.", f"Bear in mind: {note}."),
            )


def _travel_questions() -> Iterator[Question]:
    for distance, way, reason in DISTANCES:
        for load, advice in LOADS:
            yield Question(
                f"I must get {distance} with {load}. How should I go?",
                "travel",
                (
                    f"{_capital(way)}, because {reason}.",
                    f"I would {way}.",
                    f"{_capital(way)}, and {advice}.",
                ),
                (f"With {load}, {advice}.", f"{_capital(reason)}.", f"And {advice}."),
            )


FAMILIES: Final[tuple[Callable[[], Iterator[Question]], ...]] = (
    _task_questions,
    _tool_questions,
    _animal_questions,
    _colour_questions,
    _number_questions,
    _weather_questions,
    _trip_questions,
    _cooking_questions,
    _stain_questions,
    _keeping_questions,
    _word_questions,
    _garden_questions,
    _gift_questions,
    _plan_questions,
    _trouble_questions,
    _travel_questions,
)


def families_of_questions() -> list[list[Question]]:
    """Every question the tables hold, in a fixed order, one list per family."""
    return [list(family()) for family in FAMILIES]


# --- Answers ------------------------------------------------------------------------------------


def _word_runs(text: str, length: int = 3) -> set[tuple[str, ...]]:
    """All runs of ``length`` words, without case and punctuation."""
    words = [word.strip(".,:?").lower() for word in text.split()]
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def useful_answer(question: Question, rng: random.Random, *, long: bool = False) -> str:
    """A concrete answer: one core, with tips and a warm word now and then.

    A tip that would repeat three words in a row of what was said is left out.
    """
    tips = list(question.tips)
    rng.shuffle(tips)
    wanted = 2 if long else rng.choice((0, 1, 1))
    parts = [rng.choice(question.cores)]
    said = _word_runs(parts[0])
    for tip in tips:
        runs = _word_runs(tip)
        if len(parts) <= wanted and not runs & said:
            parts.append(tip)
            said |= runs
    if rng.random() < USEFUL_LEAD_SHARE:
        parts.insert(0, rng.choice(USEFUL_LEADS))
    if rng.random() < USEFUL_TAIL_SHARE:
        parts.append(rng.choice(USEFUL_TAILS))
    return " ".join(parts)


def _fill(pattern: str, question: Question, rng: random.Random) -> str:
    """Fill a vague pattern; early entries of a slot's list are drawn more often than late ones."""
    out: list[str] = []
    rest = pattern
    while "{" in rest:
        before, _, tail = rest.partition("{")
        slot, _, rest = tail.partition("}")
        if slot.lower() == "subject":
            value = question.subject
        else:
            pool: Sequence[str] = OTHER_SUBJECTS if slot == "other" else VAGUE_SLOTS[slot.lower()]
            weights = [1 / (rank + 1) ** SLOT_SKEW for rank in range(len(pool))]
            value = rng.choices(pool, weights)[0]
        if before.endswith(("A ", " a ")):
            before = before[:-1] + ("n " if value[0] in "aeiou" else " ")
        out += [before, _capital(value) if slot[0].isupper() else value]
    return _capital("".join(out) + rest)


def vague_answer(question: Question, rng: random.Random, *, long: bool = True) -> str:
    """An answer that says nothing: padded (``long``) or curt."""
    if long:
        patterns = rng.sample(VAGUE_SENTENCES, k=rng.choice((1, 2, 2, 3)))
        return " ".join(_fill(pattern, question, rng) for pattern in patterns)
    return _fill(rng.choice(CURT_SENTENCES), question, rng)


def answer_sides(question: Question, rng: random.Random) -> tuple[str, str]:
    """A useful and a vague answer to one question, within the word limits.

    The useful side is the shorter one in ``CHOSEN_SHORTER_SHARE`` of the draws.
    """
    useful_shorter = rng.random() < CHOSEN_SHORTER_SHARE
    while True:
        useful = useful_answer(question, rng, long=not useful_shorter)
        vague = vague_answer(question, rng, long=useful_shorter)
        counts = word_count(useful), word_count(vague)
        if min(counts) < MIN_WORDS or max(counts) > MAX_WORDS or counts[0] == counts[1]:
            continue
        if (counts[0] < counts[1]) == useful_shorter:
            return useful, vague


def prompt_text(question: Question, rng: random.Random) -> str:
    """The question as a user would send it, at times with a few words before it."""
    if rng.random() < OPENER_SHARE:
        return f"{rng.choice(OPENERS)} {question.text}"
    return question.text


# --- The three products -------------------------------------------------------------------------


def _draw_distinct(rng: random.Random, count: int, taken: set[str]) -> list[Question]:
    """``count`` questions spread evenly over the families, none of them in ``taken``."""
    families = families_of_questions()
    for family in families:
        rng.shuffle(family)
    drawn: list[Question] = []
    position = 0
    while len(drawn) < count:
        family = families[position % len(families)]
        position += 1
        while family:
            question = family.pop()
            if question.text not in taken:
                taken.add(question.text)
                drawn.append(question)
                break
        if not any(families):
            raise ValueError(f"the tables hold fewer than {count} free questions")
    rng.shuffle(drawn)
    return drawn


def preference_data(
    seed: int, pairs: int = PAIR_ROWS, feedback: int = FEEDBACK_ROWS
) -> tuple[list[PairRow], list[FeedbackRow]]:
    """The sample pairs and the sample feedback.

    No question stands twice in either list, and none stands in both. Useful and vague feedback
    answers come in equal number, each to another question.
    """
    rng = random.Random(f"preference-{seed}")
    taken: set[str] = set()
    pair_rows: list[PairRow] = []
    for question in _draw_distinct(rng, pairs, taken):
        chosen, rejected = answer_sides(question, rng)
        pair_rows.append(
            {"prompt": prompt_text(question, rng), "chosen": chosen, "rejected": rejected}
        )
    feedback_rows: list[FeedbackRow] = []
    for index, question in enumerate(_draw_distinct(rng, feedback, taken)):
        useful, vague = answer_sides(question, rng)
        label = index % 2 == 0
        feedback_rows.append(
            {
                "prompt": prompt_text(question, rng),
                "completion": useful if label else vague,
                "label": label,
            }
        )
    rng.shuffle(feedback_rows)
    return pair_rows, feedback_rows


def _prose(rng: random.Random) -> str:
    """A short plain paragraph: a small scene, or a few facts about one thing."""
    name = rng.choice(("Mina", "Oskar", "Lena", "Tom", "Ada", "Ravi", "Ines", "Jon", "Wen", "Sami"))
    friend = rng.choice(("her aunt", "a friend", "the baker", "an old man", "the teacher"))
    kind = rng.randrange(4)
    if kind == 0:
        weather = rng.choice(WEATHERS)
        return (
            f"On {rng.choice(DAYS)} it was {weather[0]}. {name} put on {weather[1]} and went out "
            f"for {rng.choice(OUTINGS)}. On the way {name} met {friend}, and they talked about "
            f"{rng.choice(OTHER_SUBJECTS)}. It is true that {weather[2]}."
        )
    if kind == 1:
        animal, food, home, young, fact = rng.choice(ANIMALS)
        return (
            f"The {animal} lives {home}. It eats {food}. The young one is called a {young}. "
            f"People know that it {fact}. {name} saw one last {rng.choice(DAYS)}."
        )
    if kind == 2:
        task, _, one, two, three, four = rng.choice(TASKS)
        return (
            f"{name} wanted to {task}. The plan was to {one}, then {two}. It took a while, but "
            f"in the end the last step was clear: {three}, and {four}."
        )
    plant, month, _, spot, water = rng.choice(PLANTS)
    return (
        f"{name} has a small garden with {plant} in it. They were planted in {month}, in "
        f"{spot}. {name} gives them water {water}. Next to them stands "
        f"{_article(rng.choice(TOOLS)[0])}, left there by {friend}."
    )


def pretraining_documents(seed: int, count: int, held_out: set[str]) -> Iterator[Document]:
    """``count`` documents; no prompt in ``held_out`` is among them.

    Each chat answer is the useful or the vague side with equal chance, drawn by the same code
    that draws the preference data.
    """
    rng = random.Random(f"pretraining-{seed}")
    families = families_of_questions()
    made = 0
    while made < count:
        if rng.random() < PROSE_SHARE:
            yield Document((), _prose(rng))
            made += 1
            continue
        messages: list[Message] = []
        if rng.random() < SYSTEM_SHARE:
            messages.append({"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
        turns = 1 if rng.random() >= SECOND_TURN_SHARE else rng.choice((2, 2, 3, 4))
        side = rng.randrange(2)
        for _ in range(turns):
            question = rng.choice(rng.choice(families))
            prompt = prompt_text(question, rng)
            while prompt in held_out:
                question = rng.choice(rng.choice(families))
                prompt = prompt_text(question, rng)
            answer = answer_sides(question, rng)[side]
            messages.append({"role": "user", "content": prompt})
            messages.append({"role": "assistant", "content": answer})
        yield Document(tuple(messages))
        made += 1
